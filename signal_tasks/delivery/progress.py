"""The progress of a batch: what is still to run, and what has become of the rest.

The ways to run a batch (``together``, ``singly``, ``outside``, ``listed``) take jobs from its
queue, and write what comes of them through it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import Error, connections

from signal_tasks import hooks, signals
from signal_tasks.db.session import drop
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.lists import LoneJob
from signal_tasks.delivery.outcome import Outcome, send_signals
from signal_tasks.delivery.process import process
from signal_tasks.delivery.turns import Turns
from signal_tasks.delivery.writing import persist, write, write_apart, write_single
from signal_tasks.exceptions import LeaseLost
from signal_tasks.models import Delivery
from signal_tasks.registry.registry import Receiver
from signal_tasks.steering import breaker


@dataclass(slots=True)
class BatchResult:
    """The result of a batch: what is written, and what was not run.

    ``behind`` are those that may not run yet, because one that comes before them in
    their sequence has not succeeded. ``isolated`` are those that may run alone only:
    Note [Fallback] in ``listed``. ``hook_errors`` are those of Note [Hooks] in
    ``hooks``. ``error`` is what has to be raised once the rest is released.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    fenced: int = 0
    not_run: deque[Job] = field(default_factory=deque)
    behind: list[Job] = field(default_factory=list)
    isolated: list[LoneJob] = field(default_factory=list)
    hook_errors: list[BaseException] = field(default_factory=list)
    error: BaseException | None = None


class Progress:
    """The queue of a batch, and its result so far."""

    def __init__(self, receiver: Receiver, database: str, jobs: Sequence[Job]) -> None:
        self.receiver = receiver
        self.database = database
        self.jobs = deque(jobs)
        self.size = process.size_of(receiver.name)
        self.result = BatchResult(not_run=self.jobs)
        self.turns = Turns()
        self.has_failed = False  # a call for several has, or has to be made again
        self._is_probe = any(job.claimed.probe for job in jobs)

    @property
    def is_broken(self) -> bool:
        """True if the breaker of the receiver is open, and this is not its probe."""
        if self._is_probe:
            return False
        return breaker.is_open(self.receiver, self.database)

    @property
    def must_stop(self) -> bool:
        """True if no further job of this batch may start."""
        return process.must_stop or self.is_broken

    def close(self) -> BatchResult:
        """Return the result; tell what may not run yet from what was not run."""
        behind = self.turns.is_behind
        self.result.behind += [job for job in self.jobs if behind(job)]
        self.result.not_run = deque(job for job in self.jobs if not behind(job))
        if self.receiver.options.batch is not None:
            self._isolate()
        return self.result

    def _isolate(self) -> None:
        """Tell what may have made a call fail from the rest of what was not run."""
        left, self.result.not_run = self.result.not_run, deque()
        for job in left:
            if isinstance(job, LoneJob) and job.is_suspect:
                self.result.isolated.append(job)
            else:
                self.result.not_run.append(job)

    @property
    def has_begun(self) -> bool:
        """True if a receiver was called already."""
        return self.has_failed or bool(self.result.outcomes)

    # -- the jobs -----------------------------------------------------------------

    def set_aside(self, job: Job) -> bool:
        """Keep a job from running if it has to wait; return True then."""
        if not self.turns.is_behind(job):
            return False
        self.result.behind.append(job)
        return True

    def put_back(self, ran: Sequence[Job] | deque[Job]) -> None:
        """Put jobs back to the head of the queue, in their order."""
        self.jobs.extendleft(reversed(ran))

    def fence(self, job: Job) -> None:
        """Tell that a job is no longer, or may no longer be, held by this worker."""
        self.turns.stop_at(job)
        self.result.fenced += 1
        details = signals.DeliveryFenced(
            delivery_id=job.claimed.id,
            receiver=self.receiver.name,
            database=self.database,
        )
        signals.delivery_fenced.send_robust(Delivery, details=details)

    # -- what is written ----------------------------------------------------------

    def held(self, outcomes: Sequence[Outcome]) -> frozenset[int]:
        """Return the sequences of these that a job of the queue goes on with.

        Ask anew for each try, over a connection that is open: leases end meanwhile.
        """
        return self.turns.held(outcomes, self.jobs)

    def write_inside(
        self, outcomes: Sequence[Outcome]
    ) -> tuple[Sequence[Outcome], Sequence[hooks.Hook]]:
        """Write outcomes in the transaction that is open, as its last act.

        Return them as written, and the hooks that are to be run after its commit.
        """
        written = write(outcomes, self.held(outcomes))
        return written, hooks.take(self.receiver.name, self.database)

    def committed(
        self, outcomes: Sequence[Outcome], after: Sequence[hooks.Hook]
    ) -> None:
        """Tell outcomes of a transaction that is committed, then run its hooks."""
        self.written(outcomes)
        if after:
            self.result.hook_errors += hooks.run(after, self.database)

    def write(self, job: Job, outcome: Outcome) -> None:
        """Write an outcome by itself, over a new connection where one was lost."""
        try:
            written = persist(self.database, lambda: self._write_single(outcome))
        except LeaseLost:
            self.fence(job)
        else:
            self.written([written])

    def _write_single(self, outcome: Outcome) -> Outcome:
        self.open()
        return write_single(outcome, self.held([outcome]))

    def write_all(self, ran: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Write outcomes together; where that fails, each by itself."""
        if len(outcomes) > 1 and not any(outcome.free for outcome in outcomes):
            try:
                self.open()
                written = write_apart(outcomes, self.held(outcomes))
            except (LeaseLost, Error):
                pass  # writing each by itself shows which one is wrong
            else:
                self.written(written)
                return
        for job, outcome in zip(ran, outcomes, strict=True):
            self.write(job, outcome)

    def written(self, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes that are committed to the result, and tell them."""
        self.result.outcomes.extend(outcomes)
        send_signals(outcomes)

    # -- the connection -----------------------------------------------------------

    def open(self) -> None:
        """Connect if need be, so that what comes with it is no act of the receiver."""
        connections[self.database].cursor().close()

    def drop_connection(self) -> None:
        """Close the connection: broken, spoilt, or still busy with a statement."""
        drop(self.database)
