"""What a sender holds of a delivery."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from django.apps import apps

from signal_tasks.states import State

if TYPE_CHECKING:
    from signal_tasks.models import Delivery


@dataclass(slots=True, eq=False)
class DeliveryHandle:
    """A delivery as it was when the handle was made, or last refreshed.

    Equal to another handle of the same delivery; ``str()`` of it is for logs.

    Attributes:
        id: of the delivery.
        event_id: of its event.
        receiver: name of the receiver.
        database: alias of the database that holds it.
        state: ``pending``, ``running``, ``succeeded``, ``dead`` or ``discarded``.
        reason: why it is dead: ``exhausted``, ``rejected``, ``lost``,
            ``undecodable`` or ``missing``; else empty.
        attempts: how often a worker took it.
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

    @classmethod
    def of(cls, delivery: Delivery, database: str) -> Self:
        """The handle of a delivery's row."""
        handle = cls(delivery.pk, delivery.event_id, delivery.receiver, database)
        handle._copy(delivery)
        return handle

    def refresh(self) -> Self:
        """Read state, reason and attempts from the database; returns the handle.

        Raises:
            Delivery.DoesNotExist: the delivery was rolled back or pruned.
        """
        model = apps.get_model("signal_tasks", "Delivery")
        self._copy(model._base_manager.using(self.database).get(pk=self.id))
        return self

    def _copy(self, delivery: Delivery) -> None:
        self.state = State(delivery.state)
        self.reason = delivery.reason
        self.attempts = delivery.attempts
        self.orphaned = delivery.orphaned

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state not in (State.PENDING, State.RUNNING)

    def __str__(self) -> str:
        return f"{self.receiver}[{self.id}] {self.state}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeliveryHandle) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)
