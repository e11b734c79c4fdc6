"""Breakers, as they stand in each outbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.models import Gate
from signal_tasks.registry.registry import registry
from signal_tasks.states import Breaker


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """The breaker of a receiver, as it stands in one outbox.

    Attributes:
        receiver: name of the receiver.
        database: alias of the outbox.
        state: ``closed``, ``open`` or ``half_open``.
        failures: consecutive failures so far.
        failing_since: when the first of them was, within the window; or None.
        changed_at: when it last opened, closed, or let a delivery probe; or None.
        probe_at: when the next delivery may probe; while half open, when the probe
            counts as lost; None if it is closed.
    """

    receiver: str
    database: str
    state: Breaker
    failures: int
    failing_since: datetime | None
    changed_at: datetime | None
    probe_at: datetime | None


def breakers() -> list[BreakerState]:
    """Return the breaker of each receiver that has one here, by name and outbox."""
    receivers = [each for each in registry.receivers() if each.options.breaker]
    states = []
    for database in outbox_aliases():
        gates = Gate.objects.using(database).in_bulk(
            [each.oldest_name for each in receivers]
        )
        states += [
            _state(each.name, gates.get(each.oldest_name, Gate()), database)
            for each in receivers
        ]
    return sorted(states, key=lambda each: (each.receiver, each.database))


def _state(receiver: str, gate: Gate, database: str) -> BreakerState:
    return BreakerState(
        receiver=receiver,
        database=database,
        state=Breaker(gate.breaker),
        failures=gate.failures,
        failing_since=gate.failing_since,
        changed_at=gate.changed_at,
        probe_at=gate.probe_at,
    )
