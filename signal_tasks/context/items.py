"""The items of a batch: what a batch receiver gets for each of its deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from signal_tasks.context.current import CurrentDelivery


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchItem:
    """One delivery of the batch that a batch receiver is called for.

    ``item["order"]`` is short for ``item.arguments["order"]``.

    Attributes:
        sender: as another receiver would get it.
        arguments: the named arguments of the send.
        delivery: what ``current_delivery()`` returns in other receivers. Its
            ``extend()`` is for the whole batch.
    """

    sender: Any
    arguments: Mapping[str, Any]
    delivery: CurrentDelivery

    @property
    def id(self) -> uuid.UUID:
        """The id of the delivery, by which it may be answered for."""
        return self.delivery.id

    @property
    def event_id(self) -> uuid.UUID:
        """The id of its event."""
        return self.delivery.event_id

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]
