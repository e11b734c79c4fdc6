"""What users test with: no broker, no worker, no mocks.

``run_pending()`` works inside of a plain ``TestCase``, whose transaction never
commits: it reads what is owed from the database and runs it in this process.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from signal_tasks import codec, signals
from signal_tasks.clock import DatabaseNow
from signal_tasks.delivery import work_off
from signal_tasks.dispatch import AsyncSignal
from signal_tasks.handles import DeliveryHandle
from signal_tasks.models import Delivery, Event
from signal_tasks.outbox import aliases
from signal_tasks.registry import registry
from signal_tasks.states import State

__all__ = ["Sent", "assert_sent", "capture_signals", "run_pending"]

#: Rounds after which receivers that keep sending are taken for an endless loop.
MOST_ROUNDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One send of a signal, as ``capture_signals`` saw it."""

    signal: AsyncSignal
    sender: Any
    kwargs: Mapping[str, Any]


def run_pending(
    *, twice: bool = False, shuffle: int | random.Random | None = None
) -> list[DeliveryHandle]:
    """Run what is due in this process, and what that sends, until nothing is due.

    Returns a handle for each delivery that ran, in that order. What fails is
    postponed as in a worker and stays owed. ``twice``: every message is delivered
    twice, and every non-atomic receiver runs twice for its delivery, as after a
    crash before its end was written. ``shuffle``: a seed or random generator for
    the order. Raises ``AssertionError`` when receivers send without end.
    """
    rng = random.Random(shuffle) if isinstance(shuffle, int) else shuffle  # noqa: S311
    ran: list[DeliveryHandle] = []
    for _ in range(MOST_ROUNDS):
        due = _due()
        if not due:
            return [handle.refresh() for handle in ran]
        if rng is not None:
            rng.shuffle(due)
        for handle in due:
            _run(handle, twice=twice)
        ran += due
    raise AssertionError(f"still something due after {MOST_ROUNDS} rounds")


def _due() -> list[DeliveryHandle]:
    names = registry.known_names()
    found = []
    for database in aliases():
        rows = Delivery.objects.using(database).filter(
            state=State.PENDING, available_at__lte=DatabaseNow(), receiver__in=names
        )
        ordered = rows.order_by("available_at", "pk")
        found += [DeliveryHandle.of(row, database) for row in ordered]
    return found


def _run(handle: DeliveryHandle, *, twice: bool) -> None:
    receiver = registry.receiver(handle.receiver)
    assert receiver is not None, handle.receiver  # noqa: S101 - _due() knows it
    message = (receiver.name, [str(handle.id)], handle.database)
    work_off(*message, seconds=math.inf)
    if not twice:
        return
    if not receiver.options.atomic and handle.refresh().state == State.SUCCEEDED:
        _forget_end(handle)
    work_off(*message, seconds=math.inf)


def _forget_end(handle: DeliveryHandle) -> None:
    """Put the delivery back as if its worker had died before writing the end."""
    Delivery.objects.using(handle.database).filter(pk=handle.id).update(
        state=State.PENDING, finished_at=None, relay_at=DatabaseNow()
    )


_captures: list[list[Sent]] = []


@contextmanager
def capture_signals() -> Iterator[list[Sent]]:
    """Collect every send of an ``AsyncSignal`` in the block, listened to or not.

    Sending goes on as usual, so deliveries are written too.
    """
    sent: list[Sent] = []
    _captures.append(sent)
    signals.sending.connect(_capture, dispatch_uid="signal_tasks.testing")
    try:
        yield sent
    finally:
        _captures.remove(sent)
        if not _captures:
            signals.sending.disconnect(dispatch_uid="signal_tasks.testing")


def _capture(
    sender: AsyncSignal, origin: Any, kwargs: dict[str, Any], **_: Any
) -> None:
    for sent in _captures:
        sent.append(Sent(signal=sender, sender=origin, kwargs=dict(kwargs)))


def assert_sent(signal: AsyncSignal, **subset: Any) -> Sent:
    """Assert that ``signal`` was sent with at least these keywords; return that send.

    Looks at the innermost ``capture_signals()`` block, or outside of one at the
    events in the databases.
    """
    sends = _captures[-1] if _captures else list(_stored(signal))
    ours = [sent for sent in sends if sent.signal is signal]
    for sent in ours:
        if all(
            key in sent.kwargs and sent.kwargs[key] == value
            for key, value in subset.items()
        ):
            return sent
    seen = "\n".join(f"  {dict(sent.kwargs)!r}" for sent in ours) or "  (not at all)"
    raise AssertionError(
        f"{signal.name} was not sent with {subset!r}; it was sent with:\n{seen}"
    )


def _stored(signal: AsyncSignal) -> Iterator[Sent]:
    for database in aliases():
        for event in Event._base_manager.using(database).filter(signal=signal.name):
            payload = codec.decode(event.payload, on_missing="none")
            yield Sent(signal=signal, sender=payload.sender, kwargs=payload.kwargs)
