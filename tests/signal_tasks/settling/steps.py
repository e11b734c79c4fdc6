"""Steps of the tests of ``settled``: who hears it, and relays that look later."""

from __future__ import annotations

import math
import uuid
from datetime import timedelta
from typing import Any

from django.db.models import F

from signal_tasks import AsyncSignal, RetryPolicy, signals
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery, Event, UnsettledEvent
from signal_tasks.relay.settling import sweep
from tests.signal_tasks.conftest import finish, listen


def hear_settled(signal: AsyncSignal, **options: Any) -> list[dict[str, Any]]:
    """Connect a receiver of ``settled``; return its calls."""
    return listen(signal.settled, **options)


def fail(signal: AsyncSignal, name: str = "t.failing", **options: Any) -> None:
    """Connect a receiver whose deliveries are dead after one attempt."""

    def failing(sender: object, **kwargs: Any) -> None:
        raise ValueError("on purpose")

    how = {"retry": RetryPolicy(max_attempts=1), **options}
    signal.connect(failing, name=name, weak=False, **how)


def run(receiver: str) -> None:
    """Run what is due for a receiver, as one message in a worker does."""
    rows = Delivery.objects.filter(receiver=receiver, state="pending")
    ids = [str(pk) for pk in rows.order_by("pk").values_list("pk", flat=True)]
    process_message(receiver, ids, "default", seconds=math.inf)


def let_pass(seconds: float) -> None:
    """Move the time at which relays look into the past by so many seconds."""
    UnsettledEvent.objects.update(check_at=F("check_at") - timedelta(seconds=seconds))


def finish_ago(age: timedelta) -> None:
    """Finish all deliveries, so long ago, without anybody who looks after it."""
    finish(Delivery.objects.all(), "succeeded")
    Delivery.objects.update(finished_at=F("finished_at") - age)


def told() -> list[signals.SettlingFailed]:
    """Return a list to which each failure to send ``settled`` is added from now on."""
    found: list[signals.SettlingFailed] = []

    def note(details: signals.SettlingFailed, **kwargs: Any) -> None:
        found.append(details)

    signals.settling_failed.disconnect(dispatch_uid="tests.told")
    signals.settling_failed.connect(note, weak=False, dispatch_uid="tests.told")
    return found


def look_as_a_relay() -> int:
    return sweep("default")


def waiting() -> set[uuid.UUID]:
    """Return the events that wait until they have settled."""
    return set(UnsettledEvent.objects.values_list("pk", flat=True))


def settlings(signal: AsyncSignal) -> int:
    """Return how often ``settled`` was sent durably."""
    return Event.objects.filter(signal=signal.settled.name).count()
