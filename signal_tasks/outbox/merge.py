"""Merge the sends to receivers that coalesce into deliveries that wait."""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction

from signal_tasks.db.coalesce import Send, merge
from signal_tasks.db.insert import NewEvent
from signal_tasks.db.left import Left, delete_left
from signal_tasks.outbox.keys import ask, key_text
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.registry.settled import settled_signals

if TYPE_CHECKING:
    from signal_tasks.outbox.write import EncodedEvent

NOTHING: Mapping[str, str] = {}


def coalesce_keys(
    receivers: Sequence[Receiver], sender: object, named: Mapping[str, Any]
) -> Mapping[str, str]:
    """Return the key of this send for each receiver that coalesces.

    What their functions raise propagates; ``TypeError`` and ``ValueError`` are raised
    for a key of a wrong type, or an empty one.
    """
    found = NOTHING
    for receiver in receivers:
        coalesce = receiver.options.coalesce
        if coalesce is not None:
            label = f"{receiver.name}: the key of its coalesce="
            key = key_text(ask(coalesce.key, label, sender, named), label)
            found = {**found, receiver.name: key}
    return found


@dataclass(slots=True)
class MergedEvents:
    """The events of a batch once what can be merged is merged.

    ``to_insert`` have their plain deliveries only; ``written`` the same events with
    all of theirs. An event that no delivery has is in neither.
    """

    to_insert: list[NewEvent] = field(default_factory=list)
    written: list[NewEvent] = field(default_factory=list)


def merge_events(
    batch: Sequence[EncodedEvent], events: Sequence[NewEvent], *, database: str
) -> MergedEvents:
    """Merge the sends of a batch, first with each other, then with what waits.

    In the transaction that is open; the events are not inserted yet. Rows are locked
    in the order of receiver and key.
    """
    sends = _newest(batch, events)
    results = [merge(sends[where], database=database) for where in sorted(sends)]
    targets = {
        (sends[where].event_id, where[0]): result.delivery_id
        for where, result in zip(sorted(sends), results, strict=True)
    }
    left = {result.left for result in results if result.left is not None}
    if left:
        settles = _may_settle(batch)
        still = delete_left(left, database=database, settles=settles)
        _look_after_commit(batch, still, database, settles=settles)
    merged = MergedEvents()
    for encoded, event in zip(batch, events, strict=True):
        _add(merged, encoded, event, targets)
    return merged


def _newest(
    batch: Sequence[EncodedEvent], events: Sequence[NewEvent]
) -> dict[tuple[str, str], Send]:
    sends: dict[tuple[str, str], Send] = {}
    for encoded, event in zip(batch, events, strict=True):
        for receiver, (pk, name) in zip(
            encoded.receivers, event.deliveries, strict=True
        ):
            coalesce = receiver.options.coalesce
            if coalesce is None:
                continue
            key = encoded.coalesced[name]
            earlier = sends.get((name, key))
            number = earlier.sends + 1 if earlier else 1
            how = (coalesce.within, coalesce.max_wait, number)
            sends[name, key] = Send(name, key, event.id, pk, *how)
    return sends


def _add(
    merged: MergedEvents, encoded: EncodedEvent, event: NewEvent, targets: Any
) -> None:
    """Add an event with the deliveries that it has."""
    plain, all_of_them = [], []
    for pk, name in event.deliveries:
        if name not in encoded.coalesced:
            plain.append((pk, name))
            all_of_them.append((pk, name))
        elif (event.id, name) in targets:
            all_of_them.append((targets[event.id, name], name))
    if all_of_them:
        merged.to_insert.append(event._replace(deliveries=plain))
        merged.written.append(event._replace(deliveries=all_of_them))


def _may_settle(batch: Sequence[EncodedEvent]) -> bool:
    """Return True if ``settled`` is heard of an event that a delivery is taken from.

    That of any signal to which its receiver is connected.
    """
    if not settled_signals:
        return False
    names = {
        name
        for each in batch
        for receiver in each.receivers
        if receiver.options.coalesce is not None
        for name in registry.names_of_signals(receiver)
    }
    return any(settled_signals.find(name) is not None for name in names)


def _look_after_commit(
    batch: Sequence[EncodedEvent], still: Left, database: str, *, settles: bool
) -> None:
    """Look again after the commit for events that have lost a delivery.

    Each of two transactions still sees the delivery that the other one takes away. An
    event that has plain deliveries is pruned with them; it has settled if all of these
    have finished.
    """
    look = _Look(database, settles=settles)
    look.again |= still.locked
    if any(len(each.coalesced) == len(each.receivers) > 1 for each in batch):
        look.again |= still.used
    if settles:
        look.settling |= still.used | still.locked
    if look.again or look.settling:
        _looks.all.add(look)
        transaction.on_commit(look.look, using=database, robust=True)


class _Looks(threading.local):
    """The looks of this thread that are not made yet.

    Django holds them until the commit; those of a rollback are gone with it.
    """

    def __init__(self) -> None:
        self.all: weakref.WeakSet[_Look] = weakref.WeakSet()


_looks = _Looks()


class _Look:
    """A look after the commit; the first of a transaction is made for all of them."""

    def __init__(self, database: str, *, settles: bool) -> None:
        self.database = database
        self.settles = settles
        self.again: set[uuid.UUID] = set()
        self.settling: set[uuid.UUID] = set()

    def look(self) -> None:
        """Delete what has no delivery any more, and settle what has settled."""
        self._take_over()
        settling, again = self.settling, self.again
        self.settling, self.again = set(), set()
        if settling:
            _settle(settling, self.database)
        if again:
            with transaction.atomic(using=self.database):
                delete_left(
                    again, database=self.database, waits=True, settles=self.settles
                )

    def _take_over(self) -> None:
        """Take over what the other looks of this transaction are for."""
        for other in [*_looks.all]:
            if other is not self and other.database == self.database:
                self.settles |= other.settles
                self.again |= other.again
                self.settling |= other.settling
                other.again, other.settling = set(), set()
                _looks.all.discard(other)
        _looks.all.discard(self)


def _settle(ids: set[uuid.UUID], database: str) -> None:
    from signal_tasks.settling import settle  # has models, which are not loaded yet

    settle(ids, database=database)
