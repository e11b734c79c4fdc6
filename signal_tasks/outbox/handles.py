"""Handles: what a sender gets for each delivery, and how to find them again."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from django.apps import apps

from signal_tasks.db.aliases import alias_for, outbox_aliases
from signal_tasks.db.insert import NewEvent
from signal_tasks.exceptions import DuplicateEvent
from signal_tasks.outbox.options import Dedupe
from signal_tasks.outbox.write import EncodedEvent
from signal_tasks.registry.registry import registry
from signal_tasks.states import State
from signal_tasks.validation import as_id

if TYPE_CHECKING:
    from signal_tasks.models import Delivery

Responses = list[tuple[Any, Any]]


@dataclass(slots=True, eq=False)
class DeliveryHandle:
    """A delivery as it was when the handle was made or last refreshed.

    Equal to another handle of the same delivery; ``str()`` of it is for logs.

    Attributes:
        id: of the delivery.
        event_id: of its event.
        receiver: name of the receiver.
        database: alias of the database that holds it.
        state: ``pending``, ``running``, ``succeeded``, ``dead`` or ``discarded``.
        reason: why it is dead: ``exhausted``, ``rejected``, ``lost``,
            ``undecodable`` or ``missing``; else empty.
        attempts: how often a worker has claimed it.
        merged: number of further sends that ``coalesce=`` has merged into it, when it
            was last refreshed.
        orphaned: pending, and no worker that looked at it knows the receiver.
    """

    id: uuid.UUID
    event_id: uuid.UUID
    receiver: str
    database: str
    state: str = State.PENDING
    reason: str = ""
    attempts: int = 0
    orphaned: bool = False
    merged: int = 0

    @classmethod
    def of(cls, delivery: Delivery, database: str) -> Self:
        """Return the handle of a delivery's row."""
        handle = cls(delivery.pk, delivery.event_id, delivery.receiver, database)
        handle._copy(delivery)
        return handle

    def refresh(self) -> Self:
        """Read what may have changed from the database; returns the handle.

        Its event too: a merged delivery has that of the newest send.

        Raises:
            Delivery.DoesNotExist: the delivery was rolled back or pruned.
        """
        self._copy(_deliveries(self.database).get(pk=self.id))
        return self

    def _copy(self, delivery: Delivery) -> None:
        self.event_id = delivery.event_id
        self.merged = delivery.merged
        self.state = State(delivery.state)
        self.reason = delivery.reason
        self.attempts = delivery.attempts
        self.orphaned = delivery.orphaned

    @property
    def finished(self) -> bool:
        """True when nothing more will happen by itself."""
        return self.state not in (State.PENDING, State.RUNNING)

    def __str__(self) -> str:
        return f"{self.receiver}[{self.id}] {self.state}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeliveryHandle) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def responses(event: EncodedEvent, written: NewEvent) -> Responses:
    """Return each receiver of an event with the handle of its delivery."""
    return [
        (receiver.function(), DeliveryHandle(pk, written.id, name, event.database))
        for receiver, (pk, name) in zip(
            event.receivers, written.deliveries, strict=True
        )
    ]


def duplicate_responses(
    event: EncodedEvent, dedupe: Dedupe, first: uuid.UUID
) -> Responses:
    """Return each receiver of the first event under a key, with its delivery's handle.

    One statement. A receiver that this process does not know is None.

    Raises:
        DuplicateEvent: the sender has asked for it.
    """
    if dedupe.on_duplicate == "raise":
        raise DuplicateEvent(first, event.signal, dedupe.given)
    handles = deliveries_of(first, database=event.database)
    receivers = (registry.receiver(each.receiver) for each in handles)
    return [
        (receiver and receiver.function(), handle)
        for receiver, handle in zip(receivers, handles, strict=True)
    ]


def deliveries_of(
    event_id: uuid.UUID | str, *, database: str | None = None
) -> list[DeliveryHandle]:
    """Return the deliveries of an event as they stand, ordered by receiver.

    One statement; on the first outbox, unless ``database`` names another.

    Raises:
        ValueError: ``event_id`` is no id.
    """
    event_id = as_id(event_id, "deliveries_of(): event_id")
    alias = alias_for(database, None) if database else outbox_aliases()[0]
    rows = _deliveries(alias).filter(event_id=event_id).order_by("receiver")
    return [DeliveryHandle.of(row, alias) for row in rows]


def _deliveries(database: str) -> Any:
    return apps.get_model("signal_tasks", "Delivery").objects.using(database)
