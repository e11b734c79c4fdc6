"""Run the deliveries of one claim: together, singly, or outside of any transaction.

# Note [Batches]
Deliveries are claimed in small batches, as many as ran in GROUP_SECONDS the last
time. Those of an atomic receiver share a transaction and commit together; those of a
receiver that is not atomic share the statement that writes their outcomes.

While all goes well, nothing stands between the deliveries of a transaction. When one
fails, the transaction is rolled back, and the failure is written by itself. The
others are run again, now each in a savepoint of its own, as are those of the next
SAVEPOINT_TRANSACTIONS. So a failure costs its neighbours a second run now and then,
never an attempt, and no effect in the database. When the transaction itself is lost
(deadlock, serialization failure, broken connection, a lease that was over), each is
run again in a transaction of its own; see Note [Faults of the database].

Deliveries of one key run in the order in which they were claimed, and those behind one
that has not succeeded do not run at all: they are given back without an attempt.
Outside of a transaction each is finished before the next one of its key begins.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections, transaction

from signal_tasks import signals
from signal_tasks.conf import settings
from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.db.session import drop
from signal_tasks.delivery import hooks
from signal_tasks.delivery.attempt import (
    TransactionLost,
    attempt,
    attempt_in_savepoint,
    attempt_in_transaction,
    connection_lost,
    failed,
)
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.outcome import Outcome, send_signals
from signal_tasks.delivery.process import process
from signal_tasks.delivery.turns import Turns, has_predecessor
from signal_tasks.delivery.writing import persist, write, write_apart, write_single
from signal_tasks.exceptions import LeaseLost, MissingInstance
from signal_tasks.models import Delivery
from signal_tasks.registry.registry import Receiver
from signal_tasks.steering import breaker

#: Transactions that run with savepoints after one in which a delivery failed.
SAVEPOINT_TRANSACTIONS = 50
#: How long outcomes of non-atomic deliveries are buffered (seconds). A crash repeats
#: at most this much.
BUFFER_SECONDS = 0.02
#: Longest waits before a transaction that was lost to others is run again (seconds).
RUN_AGAIN = (0.01, 0.05, 0.2, 0.5)

#: Runs a job; None when it was interrupted and has to be released.
Run = Callable[[Job], Outcome | None]


@dataclass(slots=True)
class BatchResult:
    """The result of a batch: what is written, and what was not run.

    ``behind`` are those that may not run yet, because one that comes before them in
    their sequence has not succeeded. ``hook_errors`` are those of Note [Hooks].
    ``error`` is what has to be raised once the rest is released.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    fenced: int = 0
    not_run: deque[Job] = field(default_factory=deque)
    behind: list[Job] = field(default_factory=list)
    hook_errors: list[BaseException] = field(default_factory=list)
    error: BaseException | None = None


class Batch:
    """The deliveries that one claim has won for one receiver."""

    def __init__(self, receiver: Receiver, database: str, jobs: Sequence[Job]) -> None:
        self._receiver = receiver
        self._database = database
        self._jobs = deque(jobs)
        self._size = process.size_of(receiver.name)
        self._is_probe = any(job.claimed.probe for job in jobs)
        self._result = BatchResult(not_run=self._jobs)
        self._turns = Turns()
        self._hooks: Sequence[Any] = ()  # of the transaction that was committed last

    def run(self, *, until: float, started: bool) -> BatchResult:
        """Run deliveries until all are done, the time is up or the process must stop.

        Begins nothing after ``until`` (monotonic), but always runs one delivery
        unless the message has ``started`` others.
        """
        try:
            while self._jobs and not self._must_stop:
                begun = started or self._result.outcomes
                if begun and time.monotonic() >= until:
                    break
                self._run_next()
        # The caller releases what was not run, then raises this again.
        except BaseException as error:  # noqa: BLE001
            self._result.error = error
        self._result.behind += [job for job in self._jobs if self._turns.is_behind(job)]
        self._result.not_run = deque(
            job for job in self._jobs if not self._turns.is_behind(job)
        )
        return self._result

    @property
    def is_broken(self) -> bool:
        """True if the breaker of the receiver is open, and this is not its probe."""
        if self._is_probe:
            return False
        return breaker.is_open(self._receiver, self._database)

    @property
    def _must_stop(self) -> bool:
        return process.must_stop or self.is_broken

    def _run_next(self) -> None:
        """Run the first of the jobs, or the first few; they leave the queue."""
        options = self._receiver.options
        if self._jobs[0].is_late:
            self._fenced(self._jobs.popleft())
        elif not options.atomic:
            self._run_outside()
        elif options.group_commit and len(self._jobs) > 1:
            self._run_together()
        else:
            self._run_singly(self._jobs)

    def _set_aside(self, job: Job) -> bool:
        """Keep a job from running if it has to wait; return True then."""
        if not self._turns.is_behind(job):
            return False
        self._result.behind.append(job)
        return True

    def _held(self, outcomes: Sequence[Outcome]) -> frozenset[int]:
        return self._turns.held(outcomes, self._jobs)

    # -- outside of any transaction -----------------------------------------------

    def _run_outside(self) -> None:
        """Run deliveries outside of any transaction, then write their outcomes."""
        ran: list[Job] = []
        outcomes: list[Outcome] = []
        try:
            if not self._fill(ran, outcomes, attempt, BUFFER_SECONDS):
                self._drop_connection()
        finally:
            self._write_all(ran[: len(outcomes)], outcomes)

    def _write_all(self, ran: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Write outcomes together; where that fails, each by itself."""
        if len(outcomes) > 1 and not any(outcome.free for outcome in outcomes):
            try:
                written = write_apart(outcomes, self._held(outcomes))
            except (LeaseLost, Error):
                pass  # writing each by itself shows which one is wrong
            else:
                self._written(written)
                return
        for job, outcome in zip(ran, outcomes, strict=True):
            self._write(job, outcome)

    # -- in one transaction -------------------------------------------------------

    def _run_together(self) -> None:
        """Run deliveries in one transaction; see Note [Batches]."""
        ran: list[Job] = []
        outcomes: list[Outcome] = []
        try:
            intact = self._share_transaction(ran, outcomes)
        except (LeaseLost, TransactionLost, Error) as error:
            self._lost(ran, error)
        except BaseException:
            self._put_back(ran)
            raise
        else:
            if intact:
                self._size.savepoints_for = max(self._size.savepoints_for - 1, 0)
                self._committed(outcomes)
            else:
                self._rolled_back(ran, outcomes)

    def _share_transaction(self, ran: list[Job], outcomes: list[Outcome]) -> bool:
        """Return False if the transaction was rolled back for one of its deliveries."""
        run = self._run_in_batch()
        with transaction.atomic(using=self._database):
            intact = self._fill(ran, outcomes, run, settings().GROUP_SECONDS)
            if intact:
                outcomes[:] = write(outcomes, self._held(outcomes))
                self._hooks = hooks.take(self._database)
            else:
                transaction.set_rollback(True, using=self._database)
        return intact

    def _lost(self, ran: Sequence[Job], error: BaseException) -> None:
        """Run the deliveries of a lost transaction again, each in one of its own."""
        if _fault(error) is Fault.CONNECTION:
            self._drop_connection()
        if not ran:
            raise error  # it had not begun
        self._run_each_singly(ran)

    def _run_in_batch(self) -> Run:
        """Choose whether the deliveries get savepoints; see Note [Batches].

        A time limit strikes once in a message, so no receiver may overrun it twice.
        """
        timed = self._receiver.options.timeout is not None
        with_savepoints = self._size.savepoints_for or timed
        return attempt_in_savepoint if with_savepoints else attempt_in_transaction

    def _fill(
        self, ran: list[Job], outcomes: list[Outcome], run: Run, seconds: float
    ) -> bool:
        """Run jobs for about so many seconds; move them to ``ran``.

        Return False if the transaction or the connection cannot be kept: without a
        savepoint, a failed or interrupted delivery cannot be undone by itself, and
        nothing may follow one that has spoilt the connection. An interrupted job
        goes back to the queue.
        """
        self._open()
        until = time.monotonic() + seconds
        while self._jobs and not self._jobs[0].is_late and not process.must_stop:
            if run is attempt and has_predecessor(self._jobs[0], ran):
                break  # whose outcome has to be written first
            job = self._jobs.popleft()
            if self._set_aside(job):
                continue
            ran.append(job)
            outcome = run(job)
            if outcome is None:
                self._jobs.appendleft(ran.pop())
                return run is attempt_in_savepoint
            outcomes.append(outcome)
            if not outcome.succeeded:
                self._turns.stop_at(job)
            fails = run is attempt_in_transaction and not outcome.succeeded
            if fails or outcome.spoilt:
                return False
            if time.monotonic() >= until or self._may_break(outcome):
                break
        return True

    def _may_break(self, outcome: Outcome) -> bool:
        """Return True if an outcome has to be written before the next job is run."""
        return outcome.breaks and self._receiver.options.breaker is not None

    def _rolled_back(self, ran: list[Job], outcomes: Sequence[Outcome]) -> None:
        """Write the failure that rolled the transaction back; put the others back."""
        last = outcomes[-1] if outcomes else None
        if process.must_stop or (last is not None and last.spoilt):
            self._drop_connection()
        self._size.savepoints_for = SAVEPOINT_TRANSACTIONS
        if last is not None and not last.succeeded and _is_its_own(last):
            job = ran.pop()
            self._put_back(ran)
            self._write(job, last)
        else:
            self._put_back(ran)

    def _run_each_singly(self, ran: Sequence[Job]) -> None:
        """Run again, each in its own transaction, what a lost transaction had run."""
        again = deque(ran)
        try:
            while again and not self._must_stop:
                self._run_singly(again)
        finally:
            self._put_back(again)

    def _run_singly(self, jobs: deque[Job]) -> None:
        """Run the first job in a transaction that also holds its outcome."""
        job = jobs.popleft()
        if self._set_aside(job):
            return
        if job.is_late:
            self._fenced(job)
            return
        try:
            outcome = self._run_until_kept(job)
        except LeaseLost:
            self._fenced(job)
            return
        except BaseException:
            jobs.appendleft(job)
            raise
        if outcome is None:
            self._drop_connection()
            jobs.appendleft(job)
        elif outcome.succeeded:
            self._committed([outcome])
        else:
            self._turns.stop_at(job)
            if outcome.spoilt:
                self._drop_connection()
            self._write(job, outcome)

    def _run_until_kept(self, job: Job) -> Outcome | None:
        """Run a job; again, a few times, when others made it lose its transaction."""
        started = time.monotonic()
        for wait in (*RUN_AGAIN, None):
            try:
                return self._run_in_transaction(job)
            except (TransactionLost, Error) as error:
                lost = _fault(error) is Fault.TRANSACTION
                if wait is None or not lost or not _has_time(job, started):
                    return _of_fault(job, error)
            time.sleep(random.uniform(0, wait))  # noqa: S311 - not a secret
        raise AssertionError("unreachable")

    def _run_in_transaction(self, job: Job) -> Outcome | None:
        with transaction.atomic(using=self._database):
            self._open()
            outcome = attempt_in_transaction(job)
            if outcome is not None and outcome.succeeded:
                (outcome,) = write([outcome], self._held([outcome]))
                self._hooks = hooks.take(self._database)
            else:
                transaction.set_rollback(True, using=self._database)
        return outcome

    # -- what is written ----------------------------------------------------------

    def _write(self, job: Job, outcome: Outcome) -> None:
        """Write an outcome by itself, over a new connection where one was lost."""
        try:
            held = self._held([outcome])
            written = persist(self._database, lambda: write_single(outcome, held))
        except LeaseLost:
            self._fenced(job)
        else:
            self._written([written])

    def _committed(self, outcomes: Sequence[Outcome]) -> None:
        """Tell outcomes of a transaction that is committed, then run its hooks."""
        self._written(outcomes)
        if self._hooks:
            name, database = self._receiver.name, self._database
            self._result.hook_errors += hooks.run(self._hooks, name, database)

    def _written(self, outcomes: Sequence[Outcome]) -> None:
        self._result.outcomes.extend(outcomes)
        send_signals(outcomes)

    def _fenced(self, job: Job) -> None:
        self._turns.stop_at(job)
        self._result.fenced += 1
        details = signals.DeliveryFenced(
            delivery_id=job.claimed.id,
            receiver=self._receiver.name,
            database=self._database,
        )
        signals.delivery_fenced.send_robust(Delivery, details=details)

    def _put_back(self, ran: Sequence[Job] | deque[Job]) -> None:
        self._jobs.extendleft(reversed(ran))

    def _open(self) -> None:
        """Connect if need be, so that what comes with it is no act of the receiver."""
        connections[self._database].cursor().close()

    def _drop_connection(self) -> None:
        """Close the connection: broken, spoilt, or still busy with a statement."""
        drop(self._database)


def _fault(error: BaseException) -> Fault | None:
    return error.fault if isinstance(error, TransactionLost) else fault_of(error)


def _of_fault(job: Job, error: BaseException) -> Outcome:
    """Return what follows a transaction that was lost, or could not be committed."""
    fault = _fault(error)
    if isinstance(error, TransactionLost):
        error = error.__cause__ or error
    if fault is Fault.CONNECTION:
        return connection_lost(job, error)
    return failed(job, error, by_type=fault is not Fault.TRANSACTION)


def _has_time(job: Job, started: float) -> bool:
    """Return True if a job may run once more for as long as it has taken so far."""
    timeout = job.receiver.options.timeout
    taken = time.monotonic() - started
    fits = timeout is None or 2 * taken < timeout
    return fits and not job.is_late and not process.must_stop


def _is_its_own(outcome: Outcome) -> bool:
    """Return True if the receiver itself has failed, whatever ran before it.

    Errors of the database and missing rows may come from what a neighbour did in the
    same transaction.
    """
    error = outcome.error
    if error is None or outcome.spoilt:
        return outcome.spoilt
    return not isinstance(error, Error | MissingInstance)
