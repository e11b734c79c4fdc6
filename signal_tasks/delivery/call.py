"""Call a receiver once, with everything it is given."""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any

from asgiref.sync import async_to_sync
from django.db import connections

from signal_tasks import codec, context, spans
from signal_tasks.db.claim import Claimed
from signal_tasks.db.errors import Fault, fault_of, is_retryable
from signal_tasks.db.session import leave_pool
from signal_tasks.exceptions import DecodeError, LeaseLost, Reject, Retry
from signal_tasks.interrupt import SoftTimeLimitExceeded, interruptible
from signal_tasks.models import Delivery
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.spans import TRACEPARENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A claimed delivery with its receiver; times are those of the process's clock."""

    claimed: Claimed
    receiver: Receiver
    claimed_at: float  # monotonic; not later than the claim

    @property
    def is_late(self) -> bool:
        """True if the lease may be over, so that the receiver must not start."""
        return not self.is_held_for(0.0)

    def is_held_for(self, seconds: float) -> bool:
        """Return True if the lease ends no sooner than in so many seconds."""
        end = self.claimed_at + self.receiver.lease_seconds
        return time.monotonic() + seconds < end

    @property
    def age(self) -> float:
        """Seconds since the event was sent, by the database's clock at the claim."""
        return self.claimed.age + time.monotonic() - self.claimed_at


def call(job: Job) -> None:
    """Decode the payload and run the receiver; raise whatever either raises.

    Both happen in the context of the sender, or not at all: Note [Context].
    """
    headers, carried = context.split_headers(job.claimed.headers)
    if spans.active is None:
        _call_in_context(job, headers, carried)
        return
    claimed = job.claimed
    facts = {
        "messaging.message.id": str(claimed.event_id),
        "signal_tasks.delivery_id": str(claimed.id),
        "signal_tasks.signal": claimed.signal,
        "signal_tasks.attempt": claimed.attempt,
    }
    trace, first = carried.get(TRACEPARENT), claimed.is_first
    with spans.active.run(job.receiver.name, trace, facts, first=first):
        _call_in_context(job, headers, carried)


def _call_in_context(
    job: Job, headers: Mapping[str, Any], carried: dict[str, Any]
) -> None:
    causes = carried.pop(context.CAUSES, ())
    if not carried:
        _call(job, headers, causes)
        return
    with context.surrounding(job.claimed.database, partial(restored, carried)):
        correlation = context.carried_correlation(carried)
        _call(job, headers, causes, correlation)


@contextmanager
def restored(carried: Mapping[str, Any]) -> Iterator[None]:
    """Run a block in the context of the sender.

    Raises:
        DecodeError: that cannot be.
    """
    with ExitStack() as stack:
        for hook in context.hooks_for(carried):
            _enter(hook, carried[hook.name], stack)
        yield


def _enter(hook: context.ContextHook, value: object, stack: ExitStack) -> None:
    try:
        stack.enter_context(hook.restore(value))
    except (Retry, Reject, SoftTimeLimitExceeded):
        raise
    # A project's own code. Whatever it raises, the receiver may not run without it.
    except Exception as error:
        if is_retryable(error):
            raise
        problem = f"its context {hook.name!r} cannot be restored: {error!r}"
        raise DecodeError(problem) from error


def _call(
    job: Job,
    headers: Mapping[str, Any],
    causes: Sequence[Sequence[str]],
    correlation: str = "",
) -> None:
    claimed = job.claimed
    function = job.receiver.function()
    if function is None:
        raise LookupError(f"{job.receiver.name} was disconnected meanwhile")
    if not claimed.payload:
        raise DecodeError("its event was deleted")
    on_missing = job.receiver.options.on_missing
    payload = codec.decode(claimed.payload, on_missing=on_missing)
    signal = registry.signal(claimed.signal)
    current = current_of(job, headers, payload, causes, correlation)
    surroundings = partial(context.delivering, current)
    with context.surrounding(claimed.database, surroundings), interruptible:
        result = function(signal=signal, sender=payload.sender, **payload.kwargs)
        if result is not None:
            finished(result)


def finished(result: object) -> object:
    """Run what the receiver has only begun: also that of a wrapper around it.

    Return what it returns in the end.

    Raises:
        TypeError: it returned a generator, of which nothing has run.
    """
    if inspect.isawaitable(result):
        return _await(result)
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(
            "the receiver returned a generator, so nothing of it has run; a receiver "
            "cannot yield"
        )
    return result


def _await(result: Awaitable[Any]) -> object:
    """Run an async receiver to its end, or cancel it when that is interrupted.

    Its event loop has a thread of its own, which gets no signal.
    """
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def run() -> object:
        running.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await result

    try:
        return async_to_sync(run)()
    except BaseException:
        for loop, task in running:
            with suppress(RuntimeError):  # it has ended, and its loop with it
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
        raise


def current_of(
    job: Job,
    headers: Mapping[str, Any],
    payload: codec.Payload,
    causes: Sequence[Sequence[str]],
    correlation: str,
) -> context.CurrentDelivery:
    """Return what ``current_delivery()`` is to say of a job."""
    claimed = job.claimed
    return context.CurrentDelivery(
        id=claimed.id,
        event_id=claimed.event_id,
        signal=claimed.signal,
        receiver=job.receiver.name,
        attempt=claimed.attempt,
        max_attempts=job.receiver.policy.max_attempts,
        sent_at=claimed.sent_at,
        headers=headers,
        database=claimed.database,
        cause_id=claimed.cause_id,
        _extend=lambda seconds: extend([job], seconds),
        _payload=payload,
        _causes=causes,
        _correlation=correlation,
    )


def extend(jobs: Sequence[Job], seconds: float) -> None:
    """Extend the lease of jobs that run together, beside an open transaction.

    On SQLite that transaction keeps all writers out until it ends, so the longer
    lease may as well be a part of it. So it is in the transaction of a test, whose
    rows nobody else can see.
    """
    claimed, ids = jobs[0].claimed, [job.claimed.id for job in jobs]
    connection = connections[claimed.database]
    separate = connection.features.has_select_for_update
    if separate and connection.in_atomic_block and not _is_tested(connection):
        extended = _extend_beside(claimed, ids, seconds)
    else:
        rows = Delivery.objects.using(claimed.database)
        extended = rows.extend(ids, claimed.lease, seconds)
    if extended < len(ids):
        raise LeaseLost(f"{claimed} is no longer held by this worker")


def _is_tested(connection: Any) -> bool:
    return any(block._from_testcase for block in connection.atomic_blocks)  # noqa: SLF001


def _extend_beside(claimed: Claimed, ids: Sequence[uuid.UUID], seconds: float) -> int:
    """Extend the lease over a connection of its own; return the number extended."""
    results: list[int | BaseException] = []

    def extend() -> None:
        leave_pool(claimed.database)  # the receiver holds a connection of it already
        rows = Delivery.objects.using(claimed.database)
        try:
            results.append(rows.extend_beside(ids, claimed.lease, seconds))
        # Told to the receiver, whose thread is another one.
        except BaseException as error:  # noqa: BLE001
            results.append(error)
        finally:
            connections[claimed.database].close()

    thread = Thread(target=extend, name="signal_tasks-extend")
    thread.start()
    thread.join()
    (result,) = results
    if not isinstance(result, BaseException):
        return result
    if (
        fault_of(result) is Fault.TRANSACTION
    ):  # another worker has changed the row meanwhile
        return 0
    raise result
