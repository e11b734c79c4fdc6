"""Models: events, deliveries, failed attempts, workers, and what steers them."""

from __future__ import annotations

from signal_tasks.models.alerts import OpenAlert
from signal_tasks.models.deliveries import (
    MAX_PARKED,
    Attempt,
    Delivery,
    Event,
    Extension,
)
from signal_tasks.models.history import History
from signal_tasks.models.operations import AuditEntry, Operation, OperationItem
from signal_tasks.models.ordering import Coalesced, DedupeKey, Sequence, Turn
from signal_tasks.models.settling import UnsettledEvent
from signal_tasks.models.steering import (
    Control,
    FailureGroup,
    Gate,
    HeldDelivery,
    Slot,
)
from signal_tasks.models.workers import Worker

__all__ = [
    "MAX_PARKED",
    "Attempt",
    "AuditEntry",
    "Coalesced",
    "Control",
    "DedupeKey",
    "Delivery",
    "Event",
    "Extension",
    "FailureGroup",
    "Gate",
    "HeldDelivery",
    "History",
    "OpenAlert",
    "Operation",
    "OperationItem",
    "Sequence",
    "Slot",
    "Turn",
    "UnsettledEvent",
    "Worker",
]
