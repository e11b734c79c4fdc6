"""Let what waits behind a dead letter run: the operator's way out of a blocked key."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import transaction

from signal_tasks.audit import Act, record
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.models import Delivery, Turn
from signal_tasks.states import State
from signal_tasks.validation import as_id


def skip(delivery_id: uuid.UUID | str, *, by: Any = None, reason: str = "") -> None:
    """Let those run that wait behind a dead letter; it stays dead.

    If it is replayed later, it runs out of order. One transaction, with an entry in the
    audit trail.

    Args:
        delivery_id: of the dead letter.
        by: who does it: a user or a name.
        reason: why; for the audit trail.

    Raises:
        ValueError: it is no id, there is no such delivery, it is not dead, or nothing
            can wait behind it.
    """
    pk = as_id(delivery_id, "skip(): delivery_id")
    act = Act.on("skip", str(pk), by=by, reason=reason)
    for database in outbox_aliases():
        with transaction.atomic(using=database):
            rows = Delivery.objects.using(database).filter(pk=pk)
            if delivery := rows.select_for_update().first():
                _skip(delivery, database)
                record(act, database=database)
                return
    raise ValueError(f"there is no delivery {pk}")


def _skip(delivery: Delivery, database: str) -> None:
    if delivery.state != State.DEAD:
        raise ValueError(
            f"{delivery} is {delivery.state}; only dead letters are skipped"
        )
    if not Turn.objects.using(database).filter(pk=delivery.pk).exists():
        raise ValueError(f"{delivery} has no turn: nothing waits behind it")
    Delivery.objects.using(database).give_up_turns([delivery.pk])
