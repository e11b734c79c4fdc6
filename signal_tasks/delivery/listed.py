"""Run deliveries of a batch receiver in one call: Note [Batch receivers] in ``lists``.

# Note [Fallback]
A call that raises tells nothing of any of its deliveries. What it wrote is rolled back if
the receiver is atomic, and each of its deliveries is run alone, in the same attempt: so
the one that is the cause fails, and no other. The same after a transaction that was
lost. Those that do not get to run in time are released without an attempt, and isolated:
none of them is in a batch again before it has run. So are all of them after a call that
has outlasted its time limit, for that strikes once in a message.

What an atomic receiver wrote for a delivery that it answers as failed cannot be told from
what it wrote for the others. So the failures are written, its transaction is rolled
back, and it is called once more for those that had succeeded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from django.db import Error, connections, transaction

from signal_tasks import context, signals
from signal_tasks.db.leftovers import SPOILT
from signal_tasks.delivery.attempt import TransactionLost
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.joint import Answered, CallFailed, attempt_jointly
from signal_tasks.delivery.lists import LoneJob, Part, alone, part_of
from signal_tasks.delivery.outcome import Outcome
from signal_tasks.delivery.progress import Progress
from signal_tasks.delivery.singly import drop_if_spoilt
from signal_tasks.exceptions import LeaseLost
from signal_tasks.models import Delivery
from signal_tasks.states import State


def run_listed(progress: Progress) -> None:
    """Run the first few jobs in one call; see Note [Batch receivers]."""
    progress.open()
    parts = _take(progress)
    jobs = [part.job for part in parts]
    if len(parts) < 2:
        progress.jobs.extend(alone(jobs))
        return
    run = _run_inside if progress.receiver.options.atomic else _run_outside
    try:
        run(progress, parts, jobs)
    except CallFailed as failed:
        if failed.spoilt:
            progress.drop_connection()
        error = failed.__cause__ or failed
        if failed.overrun:
            _tell(progress, jobs, error)
            seconds = failed.seconds / len(jobs)
            released = [_released(job, error, seconds) for job in jobs]
            progress.write_all(jobs, released)
        else:
            _fall_back(progress, jobs, error)


def _take(progress: Progress) -> list[Part]:
    """Take the parts of the next list from the queue; put last what has to run alone."""
    most, unshared = progress.receiver.options.batch or 1, context.unshared()
    parts: list[Part] = []
    lone: list[Job] = []
    rest: deque[Job] = deque()
    while progress.jobs:
        job = progress.jobs.popleft()
        if isinstance(job, LoneJob) or len(parts) == most:
            rest.append(job)
        elif (part := part_of(job, unshared)) is None:
            lone.append(job)
        elif parts and part.key != parts[0].key:
            rest.append(job)
        else:
            parts.append(part)
    progress.jobs.extend(rest)
    progress.jobs.extend(alone(lone))
    return parts


def _fall_back(progress: Progress, jobs: Sequence[Job], error: BaseException) -> None:
    """Run each job alone, after all others; or another time, if it may be too late."""
    progress.has_failed = True
    progress.size.use_savepoints()
    _tell(progress, jobs, error)
    lone = alone(jobs, are_suspect=True)
    if jobs[0].is_late:
        progress.result.isolated += lone
    else:
        progress.jobs.extend(lone)


def _tell(progress: Progress, jobs: Sequence[Job], error: BaseException) -> None:
    details = signals.BatchFailed(
        receiver=progress.receiver.name,
        database=progress.database,
        count=len(jobs),
        error=error,
    )
    signals.batch_failed.send_robust(Delivery, details=details)


def _released(job: Job, error: BaseException, seconds: float) -> Outcome:
    """Return the outcome of a job that is released, isolated."""
    return Outcome(
        claimed=job.claimed,
        state=State.PENDING,
        error=error,
        seconds=seconds,
        released=True,
    )


def _run_outside(
    progress: Progress, parts: Sequence[Part], jobs: Sequence[Job]
) -> None:
    try:
        answered = attempt_jointly(parts)
    except CallFailed:
        raise
    except BaseException:
        progress.put_back(jobs)
        raise
    if answered is None:
        progress.drop_connection()
        progress.put_back(jobs)
    else:
        progress.write_all(jobs, answered.outcomes)


def _run_inside(progress: Progress, parts: Sequence[Part], jobs: Sequence[Job]) -> None:
    try:
        with transaction.atomic(using=progress.database):
            answered, after = _attempt_inside(progress, parts)
    except CallFailed:
        raise
    except (LeaseLost, TransactionLost, Error) as error:
        drop_if_spoilt(progress, error)
        _fall_back(progress, jobs, _cause_of(error))
    except BaseException:
        progress.put_back(jobs)
        raise
    else:
        if answered is None:
            progress.drop_connection()
            progress.put_back(jobs)
        elif answered.has_failures:
            _rolled_back(progress, jobs, answered.outcomes)
        else:
            progress.committed(answered.outcomes, after)


def _cause_of(error: Exception) -> BaseException:
    is_lost = isinstance(error, TransactionLost)
    return (error.__cause__ if is_lost else None) or error


def _attempt_inside(
    progress: Progress, parts: Sequence[Part]
) -> tuple[Answered | None, Sequence[Any]]:
    """Call the receiver, and write the outcomes if all that it was asked have succeeded.

    Return them, and the hooks to be run after the commit.
    """
    answered = attempt_jointly(parts)
    if answered is not None and connections[progress.database].needs_rollback:
        raise CallFailed(0.0) from transaction.TransactionManagementError(SPOILT)
    if answered is None or answered.has_failures:
        transaction.set_rollback(True, using=progress.database)
        return answered, ()
    written, after = progress.write_inside(answered.outcomes)
    return Answered(list(written), has_failures=False), after


def _rolled_back(
    progress: Progress, jobs: Sequence[Job], outcomes: Sequence[Outcome]
) -> None:
    """Write the failures; put back those that had succeeded, for another call."""
    progress.has_failed = True
    pairs = list(zip(jobs, outcomes, strict=True))
    doubtful = [job for job, each in pairs if not (each.succeeded or each.is_its_own)]
    progress.jobs.extend(alone(doubtful, are_suspect=True))
    progress.put_back([job for job, each in pairs if each.succeeded])
    failed = [(job, each) for job, each in pairs if each.is_its_own]
    progress.write_all([job for job, _ in failed], [each for _, each in failed])
