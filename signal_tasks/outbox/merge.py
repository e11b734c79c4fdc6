"""Merge the sends to receivers that coalesce into deliveries that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction

from signal_tasks.db.coalesce import Left, Send, delete_left, merge
from signal_tasks.db.insert import NewEvent
from signal_tasks.outbox.keys import key_text
from signal_tasks.registry.registry import Receiver

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
            key = key_text(coalesce.key(sender, **named), label)
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
        _delete_after_commit(batch, delete_left(left, database=database), database)
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


def _delete_after_commit(
    batch: Sequence[EncodedEvent], still: Left, database: str
) -> None:
    """Look again after the commit for events that two transactions have left.

    Each of them still sees the delivery that the other one takes away. An event that
    has plain deliveries is pruned with them.
    """
    again = set(still.locked)
    if any(len(each.coalesced) == len(each.receivers) > 1 for each in batch):
        again |= still.used

    def look_again() -> None:  # a partial has no name, which Django wants for its log
        with transaction.atomic(using=database):
            delete_left(again, database=database, waits=True)

    if again:
        transaction.on_commit(look_again, using=database, robust=True)
