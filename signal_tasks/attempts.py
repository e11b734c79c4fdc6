"""One attempt at one delivery: call the receiver and judge what came of it.

``attempt`` never raises for what a receiver does wrong. In which transaction it runs
is decided in ``groups``; the outcome is written by ``settlement``.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from signal import SIG_IGN, SIGINT, default_int_handler, getsignal

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.utils import timezone

from signal_tasks.broker import SHUTDOWN
from signal_tasks.calls import HandBack, Job, call
from signal_tasks.exceptions import DecodeError, MissingInstance
from signal_tasks.models import Delivery
from signal_tasks.retry import Verdict, judge
from signal_tasks.states import Reason, State

#: What says that the transaction as a whole is lost, not only this delivery.
BROKEN_TRANSACTION = (OperationalError, InterfaceError)

SPOILT = (
    "the receiver went on after a database error without an atomic() block of its "
    "own around the statement, or called set_rollback(True); its writes are undone"
)

OVERRUN = "the receiver went on past its time limit, and its process was ended"

_rng = random.Random()  # noqa: S311 - spreads retries; not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one attempt."""

    delivery: Delivery
    state: State
    reason: str = ""
    verdict: Verdict | None = None
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether the receiver returned."""
        return self.state is State.SUCCEEDED


def attempt(job: Job) -> Outcome:
    """Run the receiver once and say what has to become of the delivery.

    Raises only what is not the receiver's own failure: ``HandBack``, the end of
    the process, and, inside of a transaction, the loss of that transaction.
    """
    started = time.monotonic()
    try:
        call(job)
    except (HandBack, KeyboardInterrupt, *SHUTDOWN) as error:
        if _is_from_outside(error) and not _overran(job, error, started):
            raise
        blamed = TimeoutError(OVERRUN) if isinstance(error, HandBack) else error
        return failed(job, blamed, time.monotonic() - started)
    except MissingInstance as error:
        return _missing(job, error)
    except DecodeError as error:
        return _dead(job, Reason.UNDECODABLE, error)
    # The boundary of the receiver: whatever it raises is its failure, recorded
    # with its traceback. ``sys.exit()`` in a receiver is no reason to end a worker.
    except BaseException as error:
        if job.receiver.options.atomic and isinstance(error, BROKEN_TRANSACTION):
            raise
        return failed(job, error, time.monotonic() - started)
    return Outcome(
        delivery=job.delivery,
        state=State.SUCCEEDED,
        seconds=time.monotonic() - started,
    )


def _is_from_outside(error: BaseException) -> bool:
    """Whether a signal may have raised this, and not the receiver itself.

    A receiver that raises it would otherwise be handed back, uncounted, for ever.
    Only a main thread hears of signals, and a process of the pool ignores Ctrl-C.
    """
    if isinstance(error, HandBack):
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = getsignal(SIGINT)
    if isinstance(error, KeyboardInterrupt):
        return handler is default_int_handler
    return handler is not SIG_IGN


def _overran(job: Job, error: BaseException, started: float) -> bool:
    """Whether the process is being ended for the sake of this receiver's limit."""
    if not isinstance(error, HandBack):
        return False
    timeout = job.receiver.options.timeout
    return timeout is not None and time.monotonic() - started >= timeout


def _missing(job: Job, error: MissingInstance) -> Outcome:
    if job.receiver.options.on_missing == "skip":
        return Outcome(
            delivery=job.delivery, state=State.DISCARDED, reason=Reason.MISSING
        )
    return _dead(job, Reason.MISSING, error)


def _dead(job: Job, reason: Reason, error: BaseException) -> Outcome:
    return Outcome(delivery=job.delivery, state=State.DEAD, reason=reason, error=error)


def failed(job: Job, error: BaseException, seconds: float = 0.0) -> Outcome:
    """What the receiver's policy makes of an error."""
    verdict = judge(
        job.policy,
        error,
        attempt=job.delivery.attempts,
        age=(timezone.now() - job.event.sent_at).total_seconds(),
        rng=_rng,
    )
    return Outcome(
        delivery=job.delivery,
        state=State.DEAD if verdict.reason else State.PENDING,
        reason=verdict.reason or "",
        verdict=verdict,
        error=error,
        seconds=seconds,
    )


class TransactionSpoilt(Exception):
    """A delivery failed in a transaction that has to be rolled back for it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def attempt_in_transaction(job: Job) -> Outcome:
    """``attempt`` inside an open transaction, with nothing that could undo it alone.

    Raises ``TransactionSpoilt`` with the outcome of what has to be undone.
    """
    outcome = attempt(job)
    if not outcome.succeeded:
        raise TransactionSpoilt(outcome)
    if connections[job.database].needs_rollback:
        error = transaction.TransactionManagementError(SPOILT)
        raise TransactionSpoilt(failed(job, error))
    return outcome


def attempt_in_savepoint(job: Job) -> Outcome:
    """``attempt`` inside an open transaction, which it leaves usable or raises.

    The writes of a receiver that failed are undone; so are, as a failure of their
    own, those of one that swallowed an error its transaction cannot survive.
    """
    try:
        with transaction.atomic(using=job.database):
            outcome = attempt(job)
            if not outcome.succeeded:
                transaction.set_rollback(True, using=job.database)
            elif connections[job.database].needs_rollback:
                outcome = failed(job, transaction.TransactionManagementError(SPOILT))
    except BROKEN_TRANSACTION:
        raise
    except DatabaseError as error:  # the savepoint could not be released
        return failed(job, error)
    return outcome
