"""Lock the gate of a receiver: whoever changes what it counts does so in turn."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import F

from signal_tasks.db.clock import DatabaseNow
from signal_tasks.models import Gate
from signal_tasks.states import Breaker

MAKE_ON_MYSQL = (
    "INSERT INTO signal_tasks_gate (receiver, holding, breaker, failures) "
    "VALUES (%s, FALSE, %s, 0) ON DUPLICATE KEY UPDATE receiver = receiver"
)


def lock_gate(receiver: str, database: str) -> None:
    """Lock the gate of a receiver in the transaction that is open; make it if need be.

    Those that make it at once wait for each other. By an UPDATE that changes nothing: on SQLite it is the first write that keeps other
    writers out, and a transaction that sees the database as it was before is refused,
    where a lock alone would let it go on with what it sees.
    """
    rows = Gate.objects.using(database).filter(pk=receiver)
    if not rows.update(holding=F("holding")):
        make_gate(receiver, database)
        rows.update(holding=F("holding"))


def make_gate(receiver: str, database: str) -> None:
    """Make the gate of a receiver, unless there is one, in the open transaction.

    MySQL's ``INSERT IGNORE`` shares its lock on the row that was there: several that
    go on to change it would wait for each other in a circle.
    """
    connection = connections[database]
    if connection.vendor != "mysql":
        gates = Gate.objects.using(database)
        gates.bulk_create([Gate(receiver=receiver)], ignore_conflicts=True)
        return
    with connection.cursor() as cursor:
        cursor.execute(MAKE_ON_MYSQL, [receiver, Breaker.CLOSED])


def locked_gate(receiver: str, database: str) -> tuple[Gate, datetime]:
    """Lock the gate of a receiver; return it and the time by the database's clock."""
    lock_gate(receiver, database)
    # A plain SELECT on MySQL may show the row as it was when the transaction began.
    rows: Any = Gate.objects.using(database).select_for_update()
    gate = rows.annotate(now=DatabaseNow()).get(pk=receiver)
    return gate, gate.now


def do_not_wait_for_the_disk(database: str) -> None:
    """Have the transaction that is open commit without a flush, on PostgreSQL.

    A token or a place that a crash of the server gives back costs nothing.
    """
    connection = connections[database]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = off")
