"""Events whose settling is heard, and a look at the outcome."""

from __future__ import annotations

import uuid
from collections import Counter

from chaos.environment import Environment, PromiseBroken
from chaos.models import Effect
from chaos.signals import concluded
from signal_tasks.models import Event, UnsettledEvent

#: Events of one preparation.
EVENTS = 5


def conclude(env: Environment) -> None:
    """Send events with two receivers each, which finish in any order."""
    keys = [f"{uuid.UUID(int=env.rng.getrandbits(128))}" for _ in range(EVENTS)]
    concluded.send_many(None, [{"key": key} for key in keys])


def expect_settled(env: Environment) -> None:
    """Expect ``settled`` to be sent once for each event, whoever has died."""
    rows = Effect.objects.filter(kind="settled")
    events = Event.objects.filter(signal=concluded.name)
    env.expect(lambda: rows.count() >= events.count(), "settling of all events", 90)
    effects = Counter(rows.values_list("key", flat=True))
    if doubled := [key for key, number in effects.items() if number > 1]:
        raise PromiseBroken(f"settled twice: {doubled}")
    if events.count() != Event.objects.filter(signal=concluded.settled.name).count():
        raise PromiseBroken(f"{events.count()} events have not settled once each")
    if left := UnsettledEvent.objects.count():
        raise PromiseBroken(f"{left} events wait although they have settled")
