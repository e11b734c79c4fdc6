"""The audit trail, as it is read."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.models import AuditEntry


def log(
    *,
    limit: int = 100,
    verb: str | None = None,
    by: str | None = None,
    operation: uuid.UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[AuditEntry]:
    """Return what operators did, in all outboxes, the newest first.

    Args:
        limit: most entries to return.
        verb: only "replay", "discard", "backfill", "cancel", "pause" and so on.
        by: only what this person did.
        operation: only what was done with the operation of this id.
        since: only from this moment on.
        until: only before this moment.
    """
    conditions: dict[str, Any] = {
        "verb": verb,
        "by": by,
        "operation_id": operation,
        "at__gte": since,
        "at__lt": until,
    }
    given = {key: value for key, value in conditions.items() if value is not None}
    entries: list[AuditEntry] = []
    for database in outbox_aliases():
        rows = AuditEntry.objects.using(database).filter(**given)
        entries += rows.order_by("-at", "-pk")[:limit]
    return sorted(entries, key=lambda entry: entry.at, reverse=True)[:limit]
