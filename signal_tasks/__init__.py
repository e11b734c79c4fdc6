"""Durable Django signals: receivers run after commit, out of process, as Celery tasks.

This is the public face, importable before ``django.setup()``; testing tools are in
``signal_tasks.testing``, lifecycle signals in ``signal_tasks.signals``.
"""

from __future__ import annotations

import uuid

from signal_tasks.alert import Alert
from signal_tasks.broker.publisher import publisher
from signal_tasks.codec import Snapshot, register_type
from signal_tasks.context import BatchItem, CurrentDelivery, current_delivery
from signal_tasks.dispatch.decorators import async_receiver, receiver
from signal_tasks.dispatch.signal import AsyncSignal
from signal_tasks.exceptions import (
    DecodeError,
    DuplicateEvent,
    LeaseLost,
    MissingInstance,
    NoAnswer,
    NoCurrentDelivery,
    PayloadError,
    Reject,
    Retry,
    SignalLoop,
    SignalTasksError,
)
from signal_tasks.health_report import HealthReport
from signal_tasks.outbox.handles import DeliveryHandle
from signal_tasks.registry.options import Breaker, Coalesce
from signal_tasks.retry import RetryPolicy

__all__ = [
    "Alert",
    "AsyncSignal",
    "BatchItem",
    "Breaker",
    "Coalesce",
    "CurrentDelivery",
    "DecodeError",
    "DeliveryHandle",
    "DuplicateEvent",
    "HealthReport",
    "LeaseLost",
    "MissingInstance",
    "NoAnswer",
    "NoCurrentDelivery",
    "PayloadError",
    "Reject",
    "Retry",
    "RetryPolicy",
    "SignalLoop",
    "SignalTasksError",
    "Snapshot",
    "async_receiver",
    "current_delivery",
    "deliveries_of",
    "flush",
    "health",
    "receiver",
    "register_type",
]

__version__ = "0.1.0"


def deliveries_of(
    event_id: uuid.UUID | str, *, database: str | None = None
) -> list[DeliveryHandle]:
    """Return the deliveries of an event as they stand, ordered by receiver.

    One statement; on the first outbox, unless ``database`` names another. An event
    that was rolled back or pruned has none.

    Raises:
        ValueError: ``event_id`` is no id.
    """
    from signal_tasks.outbox import handles  # needs the app registry to be ready

    return handles.deliveries_of(event_id, database=database)


def flush(timeout: float = 1.0) -> bool:
    """Wait until what this process has committed is published.

    For processes that are frozen or ended by force after their work, as functions of a
    cloud are. Others need it never: the publisher is flushed at every orderly end, and
    relays publish what it leaves behind.

    Args:
        timeout: seconds to wait at most.

    Returns:
        False if time ran out; relays then publish the rest.
    """
    return publisher.flush(timeout)


def health() -> HealthReport:
    """Return counts, the oldest wait, the live workers, and ``healthy``.

    The object that ``manage.py signal_tasks status --json`` prints, with
    ``healthy`` and ``problems``. Counts the deliveries of every outbox, so ask once in
    ten seconds rather than once a second; any process may ask.

    Returns:
        A dict with the counts ``pending``, ``retrying``, ``running``, ``succeeded``,
        ``dead``, ``discarded``, ``orphaned`` and ``parked``, the same for each of
        ``receivers``; ``oldest_pending_age_s`` (seconds that the oldest due delivery
        has waited that is neither held nor behind another of its key, or None); the
        names of ``workers``; ``rescued`` and ``broker_errors``, what relays published
        late and what they had to do with the broker in the last five minutes;
        ``complete``, false if there is more than was counted; and ``problems``, a list
        of sentences. ``healthy`` is true unless one of these is more than a notice,
        such as a pause.
    """
    from signal_tasks import healthcheck  # needs the app registry to be ready

    return healthcheck.health()
