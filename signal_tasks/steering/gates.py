"""What may start now: asked by workers before each batch, and by relays."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from signal_tasks.models import Delivery
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.states import Hold
from signal_tasks.steering.snapshot import FRESH, Snapshot, snapshot
from signal_tasks.steering.targets import EVERYTHING, names_of_signal, targets_of

#: Held deliveries that a relay releases in one pass, when nothing limits them.
RELEASED = 5000
SIGNAL = "signal:"


@dataclass(frozen=True, slots=True)
class Permit:
    """How many deliveries of a receiver may start now, and why not all of them."""

    count: int
    why: Hold | None = None


def permit(receiver: Receiver, database: str, wanted: int) -> Permit:
    """Return how many of the wanted deliveries may start now.

    See Note [Snapshots]. Those of paused signals are found by ``at_gates_of_signals``.
    """
    current = snapshot(database)
    if current.is_empty:
        return Permit(wanted)
    why = closed(receiver, current)
    if why is not None:
        why = closed(receiver, snapshot(database, max_age=FRESH))
    return Permit(wanted) if why is None else Permit(0, why)


def closed(receiver: Receiver, current: Snapshot) -> Hold | None:
    """Return why nothing of the receiver may start now; None if something may."""
    if not current.pauses:
        return None
    paused = any(target in current.pauses for target in targets_of(receiver))
    return Hold.PAUSED if paused else None


def paused_signals(current: Snapshot) -> dict[str, str]:
    """Return the names of events of paused signals, each with its gate."""
    return {
        name: target
        for target in current.pauses
        if target.startswith(SIGNAL)
        for name in names_of_signal(target.removeprefix(SIGNAL))
    }


def at_gates_of_signals(
    ids: Collection[uuid.UUID], database: str
) -> Mapping[str, list[uuid.UUID]]:
    """Return those of ``ids`` that wait for their signal, by the gate to hold them at.

    See Note [Snapshots]. No query while no signal is paused.
    """
    found = of_paused_signals(ids, snapshot(database), database)
    if not found:
        return found
    return of_paused_signals(ids, snapshot(database, max_age=FRESH), database)


def of_paused_signals(
    ids: Collection[uuid.UUID], current: Snapshot, database: str
) -> Mapping[str, list[uuid.UUID]]:
    """Return those of ``ids`` whose event is of a paused signal, by their gate."""
    paused = paused_signals(current)
    found: dict[str, list[uuid.UUID]] = {}
    if not paused or not ids:
        return found
    rows = Delivery.objects.using(database)
    rows = rows.filter(pk__in=ids, event__signal__in=paused)
    for pk, signal in rows.values_list("pk", "event__signal"):
        found.setdefault(paused[signal], []).append(pk)
    return found


def releasable(gate: str, current: Snapshot) -> int:
    """Return how many of what is held at a gate may be released now.

    What waits at the gate of a receiver that is not known here is left to the relays
    that know it.
    """
    if gate.startswith(SIGNAL):
        is_paused = gate in current.pauses or EVERYTHING in current.pauses
        return 0 if is_paused else RELEASED
    receiver = registry.receiver(gate)
    if receiver is None or closed(receiver, current) is not None:
        return 0
    return RELEASED
