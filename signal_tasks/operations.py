"""Operations on many deliveries: select, replay, discard, skip, describe.

The admin and the command call these, and nothing else changes deliveries for an
operator.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.dispatch.connection import Connection
from signal_tasks.dispatch.signal import all_signals
from signal_tasks.models import Delivery, Event
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.registry.options import Options
from signal_tasks.retry import RetryPolicy
from signal_tasks.steering.keys import BlockedKey, blocked_keys, place_of, skip
from signal_tasks.stored_json import shown

__all__ = [
    "BlockedKey",
    "Selection",
    "blocked_keys",
    "describe",
    "describe_signals",
    "discard",
    "replay",
    "skip",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which deliveries an operation is for; everything that is given has to match.

    Only None is not given: no ids, or an empty name, match nothing.

    Attributes:
        ids: of deliveries.
        receiver: name of the receiver.
        signal: name of the signal.
        state: of the delivery.
        reason: why it is dead.
    """

    ids: Collection[uuid.UUID] | None = None
    receiver: str | None = None
    signal: str | None = None
    state: str | None = None
    reason: str | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing is given, so that every delivery matches."""
        return all(getattr(self, each.name) is None for each in fields(self))

    def rows(self, database: str) -> DeliveryQuerySet[Delivery]:
        """Return the deliveries of one database that match."""
        conditions = {
            "pk__in": self.ids,
            "receiver": self.receiver,
            "event__signal": self.signal,
            "state": self.state,
            "reason": self.reason,
        }
        given = {key: value for key, value in conditions.items() if value is not None}
        rows: DeliveryQuerySet[Delivery] = Delivery.objects.using(database).filter(
            **given
        )
        return rows

    def replayable(self, database: str) -> DeliveryQuerySet[Delivery]:
        """Return what ``replay`` changes: dead deliveries.

        Discarded ones only by their ids: they were finished on purpose.
        """
        rows = self.rows(database)
        return rows.dead() if self.ids is None else rows.replayable()

    def discardable(self, database: str) -> DeliveryQuerySet[Delivery]:
        """Return what ``discard`` changes: pending and dead deliveries."""
        return self.rows(database).discardable()


def replay(selection: Selection, *, dry_run: bool = False) -> int:
    """Make dead deliveries pending again, with all their attempts.

    One transaction for each database. Return the number of deliveries changed, or to
    be changed if ``dry_run``.
    """
    rows = (selection.replayable(database) for database in outbox_aliases())
    return sum(each.count() if dry_run else each.replay() for each in rows)


def discard(selection: Selection, *, dry_run: bool = False) -> int:
    """Finish pending and dead deliveries without running them.

    One transaction for each database. Return the number of deliveries changed, or to
    be changed if ``dry_run``.
    """
    rows = (selection.discardable(database) for database in outbox_aliases())
    return sum(each.count() if dry_run else each.discard() for each in rows)


def describe_signals() -> dict[str, list[dict[str, Any]]]:
    """Return the durable receivers of each signal, with their options."""
    described: dict[str, list[dict[str, Any]]] = {}
    for each in all_signals():
        receivers = described.setdefault(each.name, [])
        receivers += [_receiver(connection) for connection in each.durable_connections]
    return described


def _receiver(connection: Connection) -> dict[str, Any]:
    receiver = connection.receiver
    options = {each.name: getattr(receiver.options, each.name) for each in _OPTIONS}
    return {
        "name": receiver.name,
        "aliases": list(receiver.aliases),
        **options,
        "retry": _policy(receiver.options.retry),
    }


_OPTIONS = fields(Options)


def _policy(policy: RetryPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    facts = {field.name: getattr(policy, field.name) for field in fields(policy)}
    for name in ("retry_on", "give_up_on"):
        facts[name] = [kind.__qualname__ for kind in facts[name]]
    return facts


def describe(pk: uuid.UUID) -> dict[str, Any] | None:
    """Return an event with its deliveries and failed attempts, ready for JSON.

    ``pk`` is the id of the event or of one of its deliveries; None if there is none.
    """
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
        "sent_at": event.sent_at.isoformat(),
        "cause": event.cause_id and str(event.cause_id),
        "headers": shown(event.headers) if event.headers else {},
        "payload": shown(event.payload),
        "deliveries": [_delivery(each, database) for each in deliveries],
    }


def _delivery(delivery: Delivery, database: str) -> dict[str, Any]:
    finished = delivery.finished_at
    failures = delivery.failures.values(
        "run",
        "number",
        "consequence",
        "times",
        "error_type",
        "error",
        "worker",
        "seconds",
        "traceback",
    )
    return {
        "delivery": str(delivery.pk),
        "receiver": delivery.receiver,
        "state": delivery.state,
        "reason": delivery.reason,
        "run": delivery.run,
        "attempts": delivery.attempts,
        "orphaned": delivery.orphaned,
        "parked": delivery.parked,
        **place_of(delivery.pk, database),
        "available_at": delivery.available_at.isoformat(),
        "finished_at": finished and finished.isoformat(),
        "failures": list(failures),
    }
