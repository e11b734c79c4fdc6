"""Describe signals with their receivers, and events with their deliveries."""

from __future__ import annotations

import uuid
from dataclasses import fields, is_dataclass
from typing import Any

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.dispatch.connection import Connection
from signal_tasks.dispatch.signal import all_signals
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.redaction import redacted
from signal_tasks.steering.keys import place_of
from signal_tasks.stored_json import shown
from signal_tasks.validation import as_id


def describe_signals() -> dict[str, list[dict[str, Any]]]:
    """Return the durable receivers of each signal, with their options."""
    described: dict[str, list[dict[str, Any]]] = {}
    for each in all_signals():
        receivers = described.setdefault(each.name, [])
        receivers += [_receiver(connection) for connection in each.durable_connections]
    return described


def _receiver(connection: Connection) -> dict[str, Any]:
    receiver = connection.receiver
    options: dict[str, Any] = plain(receiver.options)
    return {"name": receiver.name, "aliases": list(receiver.aliases), **options}


def plain(value: Any) -> Any:
    """Return an option, or a policy in it, as JSON has it; code by its name."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return getattr(value, "__qualname__", value)


def describe(pk: uuid.UUID | str) -> dict[str, Any] | None:
    """Return an event with its deliveries and failed attempts, ready for JSON.

    ``pk`` is the id of the event or of one of its deliveries; None if there is none.

    Raises:
        ValueError: it is no id.
    """
    pk = as_id(pk, "describe(): pk")
    for database in outbox_aliases():
        events = Event.objects.using(database)
        for found in ({"pk": pk}, {"deliveries": pk}):
            if event := events.filter(**found).first():
                return _event(event, database)
    return None


def _event(event: Event, database: str) -> dict[str, Any]:
    deliveries = event.deliveries.order_by("receiver")
    return {
        "event": str(event.pk),
        "database": database,
        "signal": event.signal,
        "subject": event.subject,
        "sent_at": event.sent_at.isoformat(),
        "cause": event.cause_id and str(event.cause_id),
        "headers": shown(event.headers) if event.headers else {},
        "payload": shown(redacted(event.signal, event.payload)),
        "deliveries": [_delivery(each, database) for each in deliveries],
    }


def _delivery(delivery: Delivery, database: str) -> dict[str, Any]:
    finished = delivery.finished_at
    return {
        "delivery": str(delivery.pk),
        "receiver": delivery.receiver,
        "state": delivery.state,
        "reason": delivery.reason,
        "run": delivery.run,
        "attempts": delivery.attempts,
        "merged": delivery.merged,
        "orphaned": delivery.orphaned,
        "parked": delivery.parked,
        **place_of(delivery.pk, database),
        "available_at": delivery.available_at.isoformat(),
        "finished_at": finished and finished.isoformat(),
        "failures": [_failure(attempt) for attempt in delivery.failures.all()],
    }


def _failure(attempt: Attempt) -> dict[str, Any]:
    return {
        "run": attempt.run,
        "number": attempt.number,
        "failed_at": attempt.failed_at.isoformat(),
        "consequence": attempt.consequence,
        "times": attempt.times,
        "error_type": attempt.error_type,
        "error": attempt.error,
        "fingerprint": attempt.fingerprint,
        "worker": attempt.worker,
        "task_id": attempt.task_id and str(attempt.task_id),
        "seconds": attempt.seconds,
        "traceback": attempt.traceback,
    }
