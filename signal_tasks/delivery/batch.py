"""Run the deliveries of one claim: together, singly, or outside of any transaction.

# Note [Batches]
Deliveries are claimed in small batches, as many as ran in GROUP_SECONDS the last
time. Those of an atomic receiver share a transaction and commit together (``together``);
those of a receiver that is not atomic share the statement that writes their outcomes
(``outside``).

While all goes well, nothing stands between the deliveries of a transaction. When one
fails, the transaction is rolled back, and the failure is written by itself. The
others are run again, now each in a savepoint of its own, as are those of the next
SAVEPOINT_TRANSACTIONS. So a failure costs its neighbours a second run now and then,
never an attempt, and no effect in the database. When the transaction itself is lost
(deadlock, serialization failure, broken connection, a lease that was over), each is
run again in a transaction of its own (``singly``); see Note [Faults of the database].
So are the next SINGLE_DELIVERIES if a concurrent transaction was the cause: a shared one
holds the locks of all its deliveries, rows of keys among them, in whatever order they come,
and would be in a deadlock again and again.

Deliveries of one key run in the order in which they were claimed, and those behind one
that has not succeeded do not run at all: they are given back without an attempt.
Outside of a transaction each is finished before the next one of its key begins.

Those of a batch receiver share a call (``listed``); see Note [Batch receivers].
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from signal_tasks.delivery.call import Job
from signal_tasks.delivery.listed import run_listed
from signal_tasks.delivery.lists import LoneJob
from signal_tasks.delivery.outside import run_outside
from signal_tasks.delivery.progress import BatchResult, Progress
from signal_tasks.delivery.singly import run_singly
from signal_tasks.delivery.together import run_together
from signal_tasks.registry.registry import Receiver


class Batch:
    """The deliveries that one claim has won for one receiver."""

    def __init__(self, receiver: Receiver, database: str, jobs: Sequence[Job]) -> None:
        self._progress = Progress(receiver, database, jobs)

    @property
    def is_broken(self) -> bool:
        """True if the breaker of the receiver is open, and this is not its probe."""
        return self._progress.is_broken

    def run(self, *, until: float, started: bool) -> BatchResult:
        """Run deliveries until all are done, the time is up or the process must stop.

        Begins nothing after ``until`` (monotonic), but always runs one delivery
        unless the message has ``started`` others.
        """
        progress = self._progress
        try:
            while progress.jobs and not progress.must_stop:
                begun = started or progress.has_begun
                if begun and time.monotonic() >= until:
                    break
                _run_next(progress)
        # The caller releases what was not run, then raises this again.
        except BaseException as error:  # noqa: BLE001
            progress.result.error = error
        return progress.close()


def _run_next(progress: Progress) -> None:
    """Run the first of the jobs, or the first few; they leave the queue."""
    options, size = progress.receiver.options, progress.size
    if progress.jobs[0].is_late:
        progress.fence(progress.jobs.popleft())
    elif options.batch is not None and not isinstance(progress.jobs[0], LoneJob):
        run_listed(progress)
    elif not options.atomic:
        run_outside(progress)
    elif options.group_commit and len(progress.jobs) > 1 and not size.singly_for:
        run_together(progress)
    else:
        size.singly_for = max(size.singly_for - 1, 0)
        run_singly(progress, progress.jobs)
