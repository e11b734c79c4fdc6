"""Run jobs of a batch one after the other, for a while.

``together`` and ``outside`` write what comes of a series at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from signal_tasks.delivery.attempt import (
    attempt,
    attempt_in_savepoint,
    attempt_in_transaction,
)
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.outcome import Outcome
from signal_tasks.delivery.process import process
from signal_tasks.delivery.progress import Progress
from signal_tasks.delivery.turns import has_predecessor

#: Runs a job; None when it was interrupted and has to be released.
Run = Callable[[Job], Outcome | None]


class Series:
    """Jobs that have left the queue of a batch, and the outcomes of those that ran.

    Whatever a run raises, both are known: the last job may have no outcome then.
    """

    def __init__(self, progress: Progress) -> None:
        self.ran: list[Job] = []
        self.outcomes: list[Outcome] = []
        self._progress = progress

    def fill(self, run: Run, seconds: float) -> bool:
        """Run jobs for about so many seconds; move them to ``ran``.

        Return False if the transaction or the connection cannot be kept: without a
        savepoint, a failed or interrupted delivery cannot be undone by itself, and
        nothing may follow one that has spoilt the connection. An interrupted job
        goes back to the queue.
        """
        progress, jobs = self._progress, self._progress.jobs
        progress.open()
        until = time.monotonic() + seconds
        while jobs and not jobs[0].is_late and not process.must_stop:
            if run is attempt and has_predecessor(jobs[0], self.ran):
                break  # whose outcome has to be written first
            job = jobs.popleft()
            if progress.set_aside(job):
                continue
            self.ran.append(job)
            outcome = run(job)
            if outcome is None:
                jobs.appendleft(self.ran.pop())
                return run is attempt_in_savepoint
            self.outcomes.append(outcome)
            if not outcome.succeeded:
                progress.turns.stop_at(job)
            fails = run is attempt_in_transaction and not outcome.succeeded
            if fails or outcome.spoilt:
                return False
            if time.monotonic() >= until or self._may_break(outcome):
                break
        return True

    def _may_break(self, outcome: Outcome) -> bool:
        """Return True if an outcome has to be written before the next job is run."""
        has_breaker = self._progress.receiver.options.breaker is not None
        return outcome.breaks and has_breaker
