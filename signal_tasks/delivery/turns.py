"""Which of the jobs of one claim may run, when they belong to sequences.

Those behind one that has not succeeded wait; see Note [Batches] in ``batch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from signal_tasks.delivery.call import Job
from signal_tasks.delivery.outcome import Outcome

#: Time of its lease that a job needs for others to count on its run (seconds).
HELD_FOR = 10.0


class Turns:
    """The sequences of one claim that stand still, and where."""

    def __init__(self) -> None:
        self._stuck: dict[int, int] = {}  # positions by sequence

    def stop_at(self, job: Job) -> None:
        """Run nothing more that comes behind this job in its sequence."""
        sequence, position = job.claimed.sequence, job.claimed.position
        if sequence:
            before = self._stuck.get(sequence, position)
            self._stuck[sequence] = min(before, position)

    def is_behind(self, job: Job) -> bool:
        """Return True if a job may not run because of one that comes before it."""
        stuck = self._stuck.get(job.claimed.sequence) if self._stuck else None
        return stuck is not None and job.claimed.position > stuck

    def held(self, outcomes: Sequence[Outcome], jobs: Iterable[Job]) -> frozenset[int]:
        """Return the sequences of these of which one of the jobs runs after this.

        It was claimed with them. Not if its lease could be over before these are
        written: relays might have moved it away meanwhile.
        """
        sequences = {outcome.claimed.sequence for outcome in outcomes} - {0}
        if not sequences:
            return frozenset()
        return frozenset(
            job.claimed.sequence
            for job in jobs
            if job.claimed.sequence in sequences
            and not self.is_behind(job)
            and job.is_held_for(HELD_FOR)
        )


def has_predecessor(job: Job, ran: Sequence[Job]) -> bool:
    """Return True if one of these comes before the job in its sequence."""
    sequence = job.claimed.sequence
    return bool(sequence) and any(each.claimed.sequence == sequence for each in ran)
