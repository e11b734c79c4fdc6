"""Run deliveries in transactions, each in one of its own that also holds its outcome.

A transaction that others made a job lose is run again; see Note [Faults of the
database] in ``attempt``.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from django.db import Error, transaction

from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.delivery.attempt import (
    TransactionLost,
    attempt_in_transaction,
    connection_lost,
    failed,
)
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.outcome import Outcome
from signal_tasks.delivery.process import process
from signal_tasks.delivery.progress import Progress
from signal_tasks.exceptions import LeaseLost

#: Longest waits before a transaction that was lost to others is run again (seconds).
RUN_AGAIN = (0.01, 0.05, 0.2, 0.5)

#: An outcome, None if interrupted, and the hooks to be run after its commit.
_Run = tuple[Outcome | None, Sequence[Any]]


def run_each_singly(progress: Progress, ran: Sequence[Job]) -> None:
    """Run again, each in its own transaction, what a lost transaction had run."""
    again = deque(ran)
    try:
        while again and not progress.must_stop:
            run_singly(progress, again)
    finally:
        progress.put_back(again)


def run_singly(progress: Progress, jobs: deque[Job]) -> None:
    """Run the first job in a transaction that also holds its outcome."""
    job = jobs.popleft()
    if progress.set_aside(job):
        return
    if job.is_late:
        progress.fence(job)
        return
    try:
        outcome, after = _run_until_kept(progress, job)
    except LeaseLost:
        progress.fence(job)
        return
    except BaseException:
        jobs.appendleft(job)
        raise
    if outcome is None:
        progress.drop_connection()
        jobs.appendleft(job)
    elif outcome.succeeded:
        progress.committed([outcome], after)
    else:
        progress.turns.stop_at(job)
        if outcome.spoilt:
            progress.drop_connection()
        progress.write(job, outcome)


def fault_in(error: BaseException) -> Fault | None:
    """Return the fault of the database that an error is, or has met."""
    return error.fault if isinstance(error, TransactionLost) else fault_of(error)


def drop_if_spoilt(progress: Progress, error: BaseException) -> None:
    """Drop the connection if a transaction was lost with it, or has left it spoilt."""
    spoilt = isinstance(error, TransactionLost) and error.spoilt
    if spoilt or fault_of(error) is Fault.CONNECTION:
        progress.drop_connection()


def _run_until_kept(progress: Progress, job: Job) -> _Run:
    """Run a job; again, a few times, when others made it lose its transaction."""
    started = time.monotonic()
    for wait in (*RUN_AGAIN, None):
        try:
            return _run_in_transaction(progress, job)
        except (TransactionLost, Error) as error:
            drop_if_spoilt(progress, error)
            lost = fault_in(error) is Fault.TRANSACTION
            if wait is None or not lost or not _has_time(job, started):
                return _of_fault(job, error), ()
        time.sleep(random.uniform(0, wait))  # noqa: S311 - not a secret
    raise AssertionError("unreachable")


def _run_in_transaction(progress: Progress, job: Job) -> _Run:
    with transaction.atomic(using=progress.database):
        progress.open()
        outcome = attempt_in_transaction(job)
        if outcome is not None and outcome.succeeded:
            (outcome,), after = progress.write_inside([outcome])
            return outcome, after
        transaction.set_rollback(True, using=progress.database)
        return outcome, ()


def _of_fault(job: Job, error: BaseException) -> Outcome:
    """Return what follows a transaction that was lost, or could not be committed."""
    fault = fault_in(error)
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
