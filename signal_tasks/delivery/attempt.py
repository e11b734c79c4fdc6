"""One attempt at one delivery: call the receiver and decide what follows.

Never raises for what a receiver does wrong. ``batch`` chooses the transaction it runs
in; ``outcome`` writes what comes of it.

# Note [Faults of the database]
A connection that is gone, a server that cannot write any more and a transaction that
was lost to a concurrent one are no failures of the receiver, whatever its policy says
of the error. A lost transaction is run again at once, a few times; then it counts as
an attempt that is retried. A lost connection is dropped, and its delivery is released
without an attempt, FREE_RUNS times for one attempt: a receiver that always causes it
is then retried as usual. A receiver that is not atomic has no transaction to
lose, so its policy decides on every error, except the loss of the connection that we
use ourselves.
"""

from __future__ import annotations

import random
import time

from django.db import DatabaseError, connections, transaction

from signal_tasks.db.errors import Fault, is_retryable
from signal_tasks.db.leftovers import SPOILT, Watch
from signal_tasks.delivery.call import Job, call
from signal_tasks.delivery.failures import was_deferred
from signal_tasks.delivery.outcome import Outcome
from signal_tasks.delivery.process import process
from signal_tasks.exceptions import DecodeError, MissingInstance, Retry
from signal_tasks.interrupt import (
    STOPS,
    HardLimitReached,
    ReleaseRequested,
    SoftTimeLimitExceeded,
    correct_running,
    is_from_outside,
    running,
)
from signal_tasks.retry import RetryDecision, decide
from signal_tasks.states import Reason, State

OVERRUN = "the receiver went on past its time limit, and its process was stopped"
TOO_OLD = "the event is older than give_up_after; the receiver was not called"

_rng = random.Random()  # noqa: S311 - spreads retries; not a secret


class TransactionLost(Exception):
    """An atomic receiver has met a fault: Note [Faults of the database].

    Its cause is what the receiver raised. The connection cannot be used any more if
    it is ``spoilt``.
    """

    def __init__(self, fault: Fault, *, spoilt: bool = False) -> None:
        super().__init__(fault)
        self.fault = fault
        self.spoilt = spoilt or fault is Fault.CONNECTION


def attempt(job: Job) -> Outcome | None:
    """Run the receiver once and return what follows.

    None means that the process has to stop and interrupted the receiver: the delivery
    is to be released. Raises only what is not the receiver's own failure: the end of
    the process, and, inside of a transaction, the loss of that transaction.
    """
    started = time.monotonic()
    if _is_too_old(job):
        return _dead(job, Reason.EXHAUSTED, TimeoutError(TOO_OLD))
    watch = Watch(connections[job.claimed.database])
    error = _error_of(job)
    left = watch.close()
    seconds = time.monotonic() - started
    if isinstance(error, STOPS):
        return _stopped(job, error, seconds)
    if error is not None:
        return _failed(job, error, watch.fault_behind(error), seconds, left=bool(left))
    if left:
        error = transaction.TransactionManagementError(left)
        return failed(job, error, seconds, spoilt=True)
    return Outcome(claimed=job.claimed, state=State.SUCCEEDED, seconds=seconds)


def _error_of(job: Job) -> BaseException | None:
    """Call the receiver; return what it raises.

    The boundary of the receiver: whatever it raises is its failure, recorded with its
    traceback. ``sys.exit()`` in a receiver is no reason to end a worker.
    """
    around = running()
    try:
        call(job)
    except BaseException as error:  # noqa: BLE001
        correct_running(around)
        return error
    return None


def _failed(
    job: Job, error: BaseException, fault: Fault | None, seconds: float, *, left: bool
) -> Outcome:
    """Decide what follows an error; the receiver has ``left`` a spoilt connection.

    Then the connection was not lost: whoever closes it causes what comes of that.
    """
    atomic = job.receiver.options.atomic
    if left and not (atomic and fault is Fault.TRANSACTION):
        return failed(job, error, seconds, spoilt=True)
    if atomic and fault is not None:
        raise TransactionLost(fault, spoilt=left) from error
    if fault is Fault.CONNECTION:
        return connection_lost(job, error, seconds)
    return outcome_of(job, error, seconds)


def outcome_of(job: Job, error: BaseException, seconds: float) -> Outcome:
    """Return what follows when nothing but a receiver, or its payload, is at fault."""
    if isinstance(error, MissingInstance):
        return _missing(job, error)
    if isinstance(error, DecodeError):
        return _dead(job, Reason.UNDECODABLE, error)
    return failed(job, error, seconds)


def _is_too_old(job: Job) -> bool:
    """Return True when ``give_up_after`` forbids a further attempt.

    The first attempt is always made, however late. What was deferred is still in its
    first attempt, but has had it.
    """
    if not job.receiver.policy.is_over(job.age):
        return False
    return job.claimed.attempt > 1 or was_deferred(job.claimed)


def _stopped(job: Job, error: BaseException, seconds: float) -> Outcome | None:
    """Decide what follows when something has ended the receiver to stop the process.

    A process that is stopped because this receiver outlasted its limit has failed.
    """
    if not isinstance(error, ReleaseRequested):
        if is_from_outside(error):
            raise error
        return failed(job, error, seconds)
    if has_overrun(job, error, seconds):
        return failed(job, TimeoutError(OVERRUN), seconds, spoilt=True)
    process.end_message()
    return None


def has_overrun(job: Job, error: BaseException, seconds: float) -> bool:
    """Return True if a receiver was interrupted because it has outlasted a limit."""
    timeout = job.receiver.options.timeout
    outlasted = timeout is not None and seconds >= timeout
    return outlasted or isinstance(error, HardLimitReached | SoftTimeLimitExceeded)


def _missing(job: Job, error: MissingInstance) -> Outcome:
    if job.receiver.options.on_missing == "skip":
        return Outcome(
            claimed=job.claimed, state=State.DISCARDED, reason=Reason.MISSING
        )
    return _dead(job, Reason.MISSING, error)


def _dead(job: Job, reason: Reason, error: BaseException) -> Outcome:
    return Outcome(claimed=job.claimed, state=State.DEAD, reason=reason, error=error)


def failed(
    job: Job,
    error: BaseException,
    seconds: float = 0.0,
    *,
    by_type: bool = True,
    free: bool = False,
    spoilt: bool = False,
) -> Outcome:
    """Return what the receiver's policy makes of an error.

    Without ``by_type`` it is retried, whatever the policy says of the error's type.
    """
    decision = decide(
        job.receiver.policy,
        error,
        attempt=job.claimed.attempt,
        age=job.age,
        rng=_rng,
        by_type=by_type,
    )
    is_told = decision.reason is not Reason.REJECTED and not free
    breaks = is_told and (decision.counts or job.claimed.probe)
    if breaks and job.claimed.probe:
        decision = _after_probe(job, error, decision)
    return Outcome(
        claimed=job.claimed,
        state=State.DEAD if decision.reason else State.PENDING,
        reason=decision.reason or "",
        retry_in=decision.delay,
        counts=decision.counts,
        most=decision.most,
        error=error,
        seconds=seconds,
        free=free,
        spoilt=spoilt,
        breaks=breaks,
    )


def _after_probe(
    job: Job, error: BaseException, decision: RetryDecision
) -> RetryDecision:
    """Return what follows a probe that failed: it spends no attempt.

    See Note [Breakers]. Only ``give_up_after`` ends it.
    """
    breaker = job.receiver.options.breaker
    delay = decision.delay if isinstance(error, Retry) else 0.0
    if breaker is not None:
        delay = max(delay, breaker.pause)
    if job.receiver.policy.is_over(job.age + delay):
        return decision
    return RetryDecision(delay=delay, counts=False)


def connection_lost(job: Job, error: BaseException, seconds: float = 0.0) -> Outcome:
    """Return what follows a lost connection; see Note [Faults of the database]."""
    return failed(job, error, seconds, by_type=False, free=True, spoilt=True)


def attempt_in_transaction(job: Job) -> Outcome | None:
    """Attempt inside an open transaction, without a savepoint of its own.

    Unless it succeeded, the caller has to roll the transaction back.
    """
    outcome = attempt(job)
    if outcome is None or not outcome.succeeded:
        return outcome
    if connections[job.claimed.database].needs_rollback:
        return failed(job, transaction.TransactionManagementError(SPOILT))
    return outcome


def attempt_in_savepoint(job: Job) -> Outcome | None:
    """Attempt inside an open transaction; leave it usable, or raise.

    The writes of a receiver that failed are undone; so are, as a failure of their
    own, those of one that swallowed an error its transaction cannot survive.
    """
    database = job.claimed.database
    try:
        with transaction.atomic(using=database):
            outcome = attempt_in_transaction(job)
            if outcome is None or not outcome.succeeded:
                transaction.set_rollback(True, using=database)
    except DatabaseError as error:
        if is_retryable(error):
            raise
        return failed(job, error)  # the savepoint could not be released
    return outcome
