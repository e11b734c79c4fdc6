"""Decide what may start now, for workers before each batch, and for relays."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.db.models import Subquery

from signal_tasks.conf import settings
from signal_tasks.models import Delivery, HeldDelivery
from signal_tasks.models.steering import SIGNAL
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.states import Breaker, Hold
from signal_tasks.steering import rates
from signal_tasks.steering.breaker import Admission, admit, disregard, give_back, tell
from signal_tasks.steering.limits import Limits, limits_of
from signal_tasks.steering.slots import free_places
from signal_tasks.steering.snapshot import FRESH, Snapshot, is_shared, snapshot
from signal_tasks.steering.targets import (
    EVERYTHING,
    names_of,
    names_of_signal,
    targets_of,
)

#: Held deliveries that a relay releases in one pass, when nothing limits them.
RELEASED = 5000


@dataclass(frozen=True, slots=True)
class Permit:
    """The number of deliveries of a receiver that may start now, and why none may.

    A ``probe`` is to be given back if it is not run, and so are ``tokens`` of a rate.
    ``places`` is the number of batches that may run at a time.
    """

    count: int
    why: Hold | None = None
    probe: bool = False
    places: int | None = None
    tokens: int = 0


def permit(receiver: Receiver, database: str, wanted: int) -> Permit:
    """Return how many of the wanted deliveries may start now.

    See Note [Snapshots] in ``snapshot``. Those of paused signals are found by
    ``at_gates_of_signals``.
    """
    current = snapshot(database)
    if not current.is_empty:
        why = closed(receiver, current)
        if why is not None:
            why = closed(receiver, snapshot(database, max_age=FRESH))
        if why is not None:
            return Permit(0, why)
    if not is_limited(receiver, current):
        return Permit(wanted)
    if not is_shared(database):
        disregard(receiver, database)
        return Permit(wanted)
    return _permit_limited(receiver, database, wanted, current)


def is_limited(receiver: Receiver, current: Snapshot) -> bool:
    """Return True if the receiver may have a limit or a breaker."""
    options = receiver.options
    return (
        options.rate_limit is not None
        or options.breaker is not None
        or options.max_concurrency is not None
        or bool(current.limits)
    )


def _permit_limited(
    receiver: Receiver, database: str, wanted: int, current: Snapshot
) -> Permit:
    """Ask the breaker, then the rate; ``claim_place`` asks for a place."""
    probe = False
    if receiver.options.breaker is not None:
        admission = admit(receiver, database)
        if admission is Admission.NONE:
            return Permit(0, Hold.BREAKER)
        probe = admission is Admission.PROBE
        wanted = 1 if probe else wanted
    rate, places = limits_of(receiver, current)
    if rate is not None:
        wanted = rates.take(receiver.oldest_name, database, rate, wanted)
        if not wanted and probe:
            tell(give_back(receiver, database))
    if not wanted:
        return Permit(0, Hold.LIMITED)
    tokens = 0 if rate is None else wanted
    return Permit(wanted, probe=probe, places=places, tokens=tokens)


def shut(receiver: Receiver, current: Snapshot) -> Hold | None:
    """Return why relays publish nothing of the receiver; None if they may.

    It is paused, or its breaker is open and no probe is due.
    """
    return closed(receiver, current) or _broken(receiver, current)


def _broken(receiver: Receiver, current: Snapshot) -> Hold | None:
    if not _is_broken(receiver, current):
        return None
    probe_at = current.gates[receiver.oldest_name].probe_at
    return None if current.has_passed(probe_at) else Hold.BREAKER


def _is_broken(receiver: Receiver, current: Snapshot) -> bool:
    gate = current.gates.get(receiver.oldest_name)
    if receiver.options.breaker is None or gate is None:
        return False
    return gate.breaker != Breaker.CLOSED


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

    See Note [Snapshots] in ``snapshot``. No query while no signal is paused.
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


def releasable(gate: str, current: Snapshot, database: str) -> int:
    """Return how many of what is held at a gate this relay may release now.

    What waits at the gate of a receiver that is not known here is left to the relays
    that know it. What a rate permits is given to one relay, which has to release it.
    """
    if gate.startswith(SIGNAL):
        paused = {EVERYTHING, *names_of(gate)} & set(current.pauses)
        return 0 if paused else RELEASED
    receiver = registry.receiver(gate) or _receiver_at(gate, database)
    if receiver is None or shut(receiver, current) is not None:
        return 0
    if _is_broken(receiver, current):
        return 1  # the probe
    return _within_limits(gate, receiver, limits_of(receiver, current), database)


def _receiver_at(gate: str, database: str) -> Receiver | None:
    """Return the receiver of what was held last at the gate, if it is known here.

    Its gate had the name of an alias that was dropped since, say.
    """
    last = HeldDelivery.objects.using(database).filter(receiver=gate).order_by("-pk")
    rows = Delivery.objects.using(database).filter(pk=Subquery(last.values("pk")[:1]))
    name = rows.values_list("receiver", flat=True).first()
    return None if name is None else registry.receiver(name)


def _within_limits(gate: str, receiver: Receiver, limits: Limits, database: str) -> int:
    """Return how many of its gate, or of a former one, may be released now.

    Each is released at the whole rate. What is too much is held again, at its gate.
    """
    number = RELEASED
    rate, places = limits
    if places is not None:
        free = free_places(receiver.oldest_name, database, places)
        number = min(number, free * settings().CHUNK_SIZE)
    if rate is not None and number:
        return min(number, rates.releasable(gate, database, rate))
    if places is not None and number and not rates.is_turn(gate, database):
        return 0
    return number


def something_is_limited(current: Snapshot) -> bool:
    """Return True if something is held that waits for nothing but a limit."""
    receivers = (registry.receiver(gate) for gate in current.holding)
    return any(
        limits_of(receiver, current) != Limits() and shut(receiver, current) is None
        for receiver in receivers
        if receiver is not None
    )
