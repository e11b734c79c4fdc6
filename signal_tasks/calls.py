"""One call of a receiver: what it is given, and what may interrupt or prolong it."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

from asgiref.sync import async_to_sync
from django.db import connections

from signal_tasks import codec, context
from signal_tasks.conf import settings
from signal_tasks.exceptions import DecodeError, LeaseLost
from signal_tasks.models import Delivery, Event
from signal_tasks.registry import Receiver, registry
from signal_tasks.retry import RetryPolicy


class HandBack(BaseException):
    """The worker has to stop now: the running delivery goes back, uncounted."""


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


def call(job: Job) -> None:
    """Decode the payload and run the receiver; raises whatever either raises."""
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
