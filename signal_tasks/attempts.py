"""One attempt at one delivery: call the receiver, judge, write the end.

``attempt`` calls and judges and never raises for what a receiver does wrong;
``settle`` writes the outcome, guarded by the lease. In which transaction either
happens is decided in ``delivery``.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
import time
import traceback
from collections.abc import Awaitable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from signal import SIG_IGN, SIGINT, default_int_handler, getsignal
from threading import Thread
from typing import Any

from asgiref.sync import async_to_sync
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.utils import timezone

from signal_tasks import codec, context
from signal_tasks.broker import SHUTDOWN
from signal_tasks.conf import settings
from signal_tasks.ends import succeed
from signal_tasks.exceptions import DecodeError, LeaseLost, MissingInstance
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.registry import Receiver, registry
from signal_tasks.retry import RetryPolicy, Verdict, judge
from signal_tasks.states import Reason, State

#: What says that the transaction as a whole is lost, not only this delivery.
BROKEN_TRANSACTION = (OperationalError, InterfaceError)

SPOILT = (
    "the receiver went on after a database error without an atomic() block of its "
    "own around the statement, or called set_rollback(True); its writes are undone"
)

OVERRUN = "the receiver went on past its time limit, and its process was ended"

_rng = random.Random()  # noqa: S311 - spreads retries; not a secret


class HandBack(BaseException):
    """The worker has to stop now: the running delivery goes back, uncounted."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A delivery that this worker has taken, with all that is needed to run it."""

    delivery: Delivery
    event: Event
    receiver: Receiver
    database: str
    held_until: float  # by this process's monotonic clock

    @property
    def policy(self) -> RetryPolicy:
        """The receiver's retry policy, or the project's."""
        return self.receiver.options.retry or settings().RETRY

    @property
    def is_late(self) -> bool:
        """Whether the lease may be over, so that the receiver must not start."""
        return time.monotonic() >= self.held_until


def attempt(job: Job) -> Outcome:
    """Run the receiver once and say what has to become of the delivery.

    Raises only what is not the receiver's own failure: ``HandBack``, the end of
    the process, and, inside of a transaction, the loss of that transaction.
    """
    started = time.monotonic()
    try:
        _call(job)
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


def _call(job: Job) -> None:
    options = job.receiver.options
    function = job.receiver.function()
    if function is None:
        raise LookupError(f"{job.receiver.name} was disconnected meanwhile")
    if not job.event.payload:
        raise DecodeError("its event was deleted")
    payload = codec.decode(job.event.payload, on_missing=options.on_missing)
    signal = registry.signal(job.event.signal)
    with context.delivering(_current(job)), _interruptible:
        result = function(signal=signal, sender=payload.sender, **payload.kwargs)
        if inspect.isawaitable(result):  # also of a wrapper that is no async function
            _await(result)


def _await(result: Awaitable[Any]) -> None:
    """Run an async receiver to its end, or cancel it when that is interrupted.

    Its event loop has a thread of its own, which hears of no signal.
    """
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def run() -> None:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        await result

    try:
        async_to_sync(run)()
    except BaseException:
        for loop, task in running:
            with suppress(RuntimeError):  # it has ended, and its loop with it
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
        raise


class _Interruptible:
    """Marks the stretches of the main thread in which ``HandBack`` may strike."""

    depth = 0

    def __enter__(self) -> None:
        type(self).depth += 1

    def __exit__(self, *_: object) -> None:
        type(self).depth -= 1


_interruptible = _Interruptible()


def in_receiver() -> bool:
    """Whether a receiver is running in this process."""
    return _Interruptible.depth > 0


def _current(job: Job) -> context.CurrentDelivery:
    delivery, event = job.delivery, job.event
    return context.CurrentDelivery(
        id=delivery.pk,
        event_id=event.pk,
        signal=event.signal,
        receiver=job.receiver.name,
        attempt=delivery.attempts,
        max_attempts=job.policy.max_attempts,
        sent_at=event.sent_at,
        headers=event.header_mapping(),
        database=job.database,
        _extend=lambda seconds: _extend(job, seconds),
    )


def _extend(job: Job, seconds: float) -> None:
    """Commit a longer lease, past the receiver's own open transaction.

    On SQLite that transaction keeps all writers out until it ends, so the longer
    lease may as well be a part of it.
    """
    connection = connections[job.database]
    beside = connection.in_atomic_block and connection.features.has_select_for_update
    held: list[int] = []

    def extend() -> None:
        rows = Delivery.objects.using(job.database).held([job.delivery])
        held.append(rows.extend(seconds))

    def extend_beside() -> None:
        try:
            extend()
        finally:
            connections[job.database].close()

    if beside and job.receiver.options.atomic:
        thread = Thread(target=extend_beside, name="signal_tasks-extend")
        thread.start()
        thread.join()
    else:
        extend()
    if held != [1]:
        raise LeaseLost(f"{job.delivery} is no longer held by this worker")


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


def settle(outcomes: Sequence[Outcome], database: str, worker: str) -> None:
    """Write the outcomes in the transaction that is open.

    Raises ``LeaseLost`` when this worker no longer holds one of the deliveries: then
    nothing of the transaction may stand.
    """
    done = [
        (outcome.delivery.pk, outcome.delivery.lease)
        for outcome in outcomes
        if outcome.succeeded
    ]
    if succeed(done, database=database) != len(done):
        raise LeaseLost("a lease was over before its receiver had ended")
    for outcome in outcomes:
        if not outcome.succeeded:
            _settle_failure(outcome, database, worker)


def settle_apart(outcomes: Sequence[Outcome], database: str, worker: str) -> None:
    """Write the outcomes, all or none, in a transaction of their own.

    Raises ``LeaseLost`` as ``settle`` does. A single success is a single statement,
    and needs no more of a transaction than that.
    """
    alone = len(outcomes) == 1 and outcomes[0].succeeded
    with nullcontext() if alone else transaction.atomic(using=database):
        settle(outcomes, database, worker)


def _settle_failure(outcome: Outcome, database: str, worker: str) -> None:
    rows = Delivery.objects.using(database).held([outcome.delivery])
    if outcome.state is State.PENDING and outcome.verdict is not None:
        verdict = outcome.verdict
        changed = rows.postpone(verdict.delay, counts=verdict.counts)
    else:
        changed = rows.end(outcome.state, outcome.reason)
    if changed != 1:
        raise LeaseLost(f"{outcome.delivery} is no longer held by this worker")
    if outcome.error is not None:
        _record(outcome, outcome.error, database, worker)


def _record(outcome: Outcome, error: BaseException, database: str, worker: str) -> None:
    dead = outcome.state is State.DEAD
    Attempt._base_manager.using(database).create(
        delivery_id=outcome.delivery.pk,
        number=outcome.delivery.attempts,
        outcome=Attempt.Outcome.DEAD if dead else Attempt.Outcome.RETRIED,
        error_type=_printable(type(error).__qualname__)[:255],
        error=_printable(_message(error))[:2000],
        traceback=_printable(_traceback(error)),
        worker=worker[:255],
        seconds=outcome.seconds,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    # An exception whose own __str__ fails must still be recorded.
    except Exception:  # noqa: BLE001
        return "(the error cannot be shown)"


def _traceback(error: BaseException) -> str:
    """The end of the traceback, where the cause is, bounded in length."""
    try:
        text = "".join(traceback.format_exception(error))
    # As in _message: formatting calls the exception's own methods.
    except Exception:  # noqa: BLE001
        return ""
    return text[-settings().MAX_TRACEBACK_CHARS :]


def _printable(text: str) -> str:
    """Text that every database stores: no NUL and no lone surrogates."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
