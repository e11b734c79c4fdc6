"""Tools for tests of projects: no broker, no worker, no mocks.

``run_pending()`` works inside of a plain ``TestCase``, whose transaction never
commits: it reads what is pending from the database and runs it in this process.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.dispatch import Signal
from django.test.testcases import (  # type: ignore[attr-defined]
    DatabaseOperationForbidden,
)

from signal_tasks import codec, signals
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.delivery.message import process_message
from signal_tasks.delivery.result import MessageResult
from signal_tasks.dispatch.forwarding import known_forwarded
from signal_tasks.dispatch.signal import AsyncSignal
from signal_tasks.models import Delivery, Event
from signal_tasks.outbox.handles import DeliveryHandle
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.relay import operating
from signal_tasks.settling import settle_all
from signal_tasks.states import State
from signal_tasks.steering.gates import closed, of_paused_signals
from signal_tasks.steering.snapshot import fresh, snapshot

__all__ = ["Sent", "assert_sent", "capture_signals", "run_pending"]

#: Rounds after which receivers that keep sending count as an endless loop.
MAX_ROUNDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One send of a signal, as ``capture_signals`` saw it.

    Attributes:
        signal: the signal itself.
        sender: as it was given.
        kwargs: the keywords that were sent.
    """

    signal: AsyncSignal
    sender: Any
    kwargs: Mapping[str, Any]


def run_pending(
    *, twice: bool = False, shuffle: int | random.Random | None = None
) -> list[DeliveryHandle]:
    """Run what is due in this process, and what that sends, each delivery once.

    Open operations are worked off first, as relays do.

    A failed delivery gets a retry as in a worker: the next call runs it again if it is
    due by then. What is paused stays pending. Databases that this test may not touch are
    passed over.

    Deliveries of ordered receivers run in their order, whatever ``shuffle`` says of them,
    and those whose turn has not come by the end do not run.

    Args:
        twice: every message is delivered twice, and every non-atomic receiver runs
            twice for its delivery, as after a crash before its outcome was written.
        shuffle: a seed or random generator for the order.

    Returns:
        A handle for each delivery that ran, in that order.

    Raises:
        AssertionError: receivers send without end.
    """
    rng = random.Random(shuffle) if isinstance(shuffle, int) else shuffle  # noqa: S311
    ran: dict[uuid.UUID, DeliveryHandle] = {}
    for _ in range(MAX_ROUNDS):
        for database in _permitted_aliases():
            operating.work_off(database, seconds=math.inf)
            settle_all(database)
        with fresh():
            due = [handle for handle in _due() if handle.id not in ran]
            if not due:
                return [handle.refresh() for handle in ran.values()]
            if rng is not None:
                rng.shuffle(due)
            started = [
                handle
                for message in _messages(due)
                for handle in _run(message, twice=twice)
            ]
        if not started:
            return [handle.refresh() for handle in ran.values()]
        ran |= {handle.id: handle for handle in started}
    raise AssertionError(f"receivers still send after {MAX_ROUNDS} rounds")


def _due() -> list[DeliveryHandle]:
    names = registry.known_names()
    found = []
    for database in _permitted_aliases():
        rows = Delivery.objects.using(database).filter(
            state=State.PENDING, available_at__lte=DatabaseNow(), receiver__in=names
        )
        ordered = rows.order_by("available_at", "pk")
        handles = [DeliveryHandle.of(row, database) for row in ordered]
        found += _startable(handles, database)
    return found


def _startable(handles: list[DeliveryHandle], database: str) -> list[DeliveryHandle]:
    """Return those of the deliveries that are not paused."""
    current = snapshot(database)
    if not current.pauses:
        return handles
    receivers = {
        name: registry.receiver(name) for name in {h.receiver for h in handles}
    }
    shut = {name for name, each in receivers.items() if each and closed(each, current)}
    at_gates = of_paused_signals([h.id for h in handles], current, database)
    paused = {pk for ids in at_gates.values() for pk in ids}
    return [h for h in handles if h.receiver not in shut and h.id not in paused]


def _permitted_aliases() -> list[str]:
    """Return the outboxes that the running test may touch, as its ``databases`` say."""
    permitted = [database for database in outbox_aliases() if _is_permitted(database)]
    return permitted or outbox_aliases()[:1]  # whose error tells what the test lacks


def _is_permitted(database: str) -> bool:
    try:
        connections[database].cursor().close()
    except DatabaseOperationForbidden:
        return False
    return True


def _messages(due: Iterable[DeliveryHandle]) -> list[list[DeliveryHandle]]:
    """Return the deliveries as a message each; those of a batch receiver share one.

    One that is isolated has its own, as ever.
    """
    messages: list[list[DeliveryHandle]] = []
    last: dict[tuple[str, str, object], list[DeliveryHandle]] = {}
    for handle in due:
        receiver = _known(handle)
        most = receiver.options.batch or 1
        isolated = handle.id if most > 1 and _is_isolated(handle) else None
        key = (receiver.name, handle.database, isolated)
        if key not in last or len(last[key]) == most:
            last[key] = []
            messages.append(last[key])
        last[key].append(handle)
    return messages


def _is_isolated(handle: DeliveryHandle) -> bool:
    rows = Delivery.objects.using(handle.database)
    return rows.filter(pk=handle.id, isolated=True).exists()


def _known(handle: DeliveryHandle) -> Receiver:
    receiver = registry.receiver(handle.receiver)
    assert receiver is not None, handle.receiver  # noqa: S101 - _due() knows it
    return receiver


def _run(message: list[DeliveryHandle], *, twice: bool) -> list[DeliveryHandle]:
    """Run the deliveries of a message; return none if their turn has not come."""
    receiver = _known(message[0])
    result = _process(receiver, message)
    if result.hook_errors:
        raise result.hook_errors[0]
    if receiver.options.ordered and not result.outcomes:
        return []
    if not twice:
        return message
    if not receiver.options.atomic:
        for handle in message:
            if handle.refresh().state == State.SUCCEEDED:
                _forget_outcome(handle)
    _process(receiver, message)
    return message


def _process(receiver: Receiver, handles: list[DeliveryHandle]) -> MessageResult:
    ids, database = [str(handle.id) for handle in handles], handles[0].database
    return process_message(
        receiver.name, ids, database, seconds=math.inf, follows=False
    )


def _forget_outcome(handle: DeliveryHandle) -> None:
    """Put the delivery back as if its worker had died before writing the outcome."""
    rows = Delivery.objects.using(handle.database).filter(pk=handle.id)
    rows.undo_success()


_captures: list[list[Sent]] = []


@contextmanager
def capture_signals() -> Iterator[list[Sent]]:
    """Collect every send of an ``AsyncSignal`` in the block, listened to or not.

    Sending goes on as usual, so deliveries are written too.
    """
    sent: list[Sent] = []
    _captures.append(sent)
    signals.signal_sending.connect(_capture, dispatch_uid="signal_tasks.testing")
    try:
        yield sent
    finally:
        _captures[:] = [each for each in _captures if each is not sent]
        if not _captures:
            signals.signal_sending.disconnect(dispatch_uid="signal_tasks.testing")


def _capture(sender: AsyncSignal, details: signals.SignalSending, **_: Any) -> None:
    for sent in _captures:
        kwargs = dict(details.kwargs)
        sent.append(Sent(signal=sender, sender=details.sender, kwargs=kwargs))


def assert_sent(signal: Signal, **subset: Any) -> Sent:
    """Assert that ``signal`` was sent with at least these keywords; return that send.

    Looks at the innermost ``capture_signals()`` block, or outside of one at the
    events in the databases, which only durable receivers leave there. Of a signal that
    is not an ``AsyncSignal``, sends to its durable receivers are seen.

    Raises:
        AssertionError: it was not; with what it was sent with instead.
        TypeError: it is no signal, or has no durable receivers that would be seen.
    """
    seen_as = _seen(signal)
    sends = _captures[-1] if _captures else list(_stored(seen_as))
    ours = [sent for sent in sends if sent.signal is seen_as]
    for sent in ours:
        if all(
            key in sent.kwargs and sent.kwargs[key] == value
            for key, value in subset.items()
        ):
            return sent
    seen = "\n".join(f"  {dict(sent.kwargs)!r}" for sent in ours) or "  (not at all)"
    raise AssertionError(
        f"{seen_as.name} was not sent with {subset!r}; it was sent with:\n{seen}"
    )


def _seen(signal: Signal) -> AsyncSignal:
    """Return the signal as which sends of this one are seen."""
    if isinstance(signal, AsyncSignal):
        return signal
    durable = known_forwarded(signal) if isinstance(signal, Signal) else None
    if durable is None:
        raise TypeError(
            f"assert_sent(): {signal!r} is no AsyncSignal, and has no durable receivers "
            "here, so that none of its sends is seen"
        )
    return durable


def _stored(signal: AsyncSignal) -> Iterator[Sent]:
    for database in _permitted_aliases():
        for event in Event.objects.using(database).filter(signal=signal.name):
            payload = codec.decode(event.payload, on_missing="none")
            yield Sent(signal=signal, sender=payload.sender, kwargs=payload.kwargs)
