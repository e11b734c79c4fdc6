"""The signal of the test event, and its receiver.

Workers connect it when they start, and a process that examines while it does so. No
other process knows of it, so it is in no list, page or metric.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils.dateparse import parse_datetime

from signal_tasks.context import current_delivery
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.dispatch.signal import AsyncSignal
from signal_tasks.registry.naming import PROBE
from signal_tasks.retry import RetryPolicy

SOON = RetryPolicy(max_attempts=3, backoff=0.1, jitter=False)


def connect(queue: str | None = None) -> AsyncSignal:
    """Make the signal, with its receiver; both live as long as it."""
    signal = AsyncSignal(name=PROBE)
    signal.connect(note, name=PROBE, retry=SOON, queue=queue, weak=False)
    return signal


def keep() -> None:
    """Let this worker know the receiver."""
    if not _kept:
        _kept.append(connect())


_kept: list[AsyncSignal] = []


@contextmanager
def connected(queue: str | None) -> Iterator[AsyncSignal]:
    """Connect the receiver for a while, with the queue that its messages take."""
    signal = connect(queue)
    try:
        yield signal
    finally:
        signal.disconnect(note)


def note(sender: object, **_: Any) -> None:
    """Write into the event when it has been received, and by which worker."""
    from signal_tasks.delivery.process import process
    from signal_tasks.models import Event

    delivery = current_delivery()
    events = Event.objects.using(delivery.database).filter(pk=delivery.event_id)
    for now in events.annotate(now=DatabaseNow()).values_list("now", flat=True):
        facts = {"started_at": now.isoformat(), "worker": process.name}
        events.update(headers=json.dumps(facts))


def read(headers: str) -> tuple[Any, str]:
    """Return what ``note`` has written: the time and the worker, or None and nothing."""
    if not headers:
        return None, ""
    facts = json.loads(headers)
    return parse_datetime(facts["started_at"]), facts["worker"]
