"""Looks: an operator says to have seen the dead letters."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from signal_tasks import audit
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.healthcheck.problems import ACKNOWLEDGE, acknowledged_at
from signal_tasks.models import Delivery

#: Dead letters of one outbox that are counted.
MAX_COUNTED = 10_000


def acknowledge(*, by: Any = None, reason: str = "") -> int:
    """Say that the dead letters of now were seen: they are no problem any more.

    They stay dead; those that die later are told of again. In the caller's transaction,
    or in one for each outbox, with an entry in the audit trail.

    Args:
        by: who has seen them; a user, or a name.
        reason: for those who will ask.

    Returns:
        How many had died since the last look, counted up to 10,000 in each outbox.
    """
    return sum(
        [
            _acknowledge(database, audit.name_of(by), reason)
            for database in outbox_aliases()
        ]
    )


def _acknowledge(database: str, by: str, reason: str) -> int:
    with transaction.atomic(using=database):
        rows = Delivery.objects.using(database).dead()
        since = acknowledged_at(database)
        if since is not None:
            rows = rows.filter(finished_at__gt=since)
        number: int = rows.order_by()[:MAX_COUNTED].count()
        act = audit.Act(
            verb=ACKNOWLEDGE,
            target=f"{number} dead {'letter' if number == 1 else 'letters'}",
            by=by,
            reason=reason,
            command=audit.command_line(ACKNOWLEDGE, because=reason, by=by),
        )
        audit.record(act, database=database)
    return number
