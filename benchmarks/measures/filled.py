"""Fill our tables with millions of copies of a row that the engine has written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from benchmarks.seat import Seat

#: Numbers in the payload of the row that is copied, to be replaced in each copy.
ORDER, STOCK = 888_888_888, 777_777_777
#: Rows per statement.
BATCH = 250_000
PAYLOAD = SQL(
    f"replace(replace(t.payload, '{ORDER}', ids.n::text),"
    f" '{STOCK}', (ids.n % 1000 + 1)::text)"
)
Changes = Mapping[str, Composable]


def finished(seat: Seat, rows: int, days: int) -> None:
    """Add deliveries that succeeded so many days ago; the workers have to be frozen."""
    seat.thaw()
    before = seat.marks.started()
    seat.probe("one", order=ORDER, stock=STOCK)
    seat.wait_for(before + 1, in_database=False)
    seat.freeze()
    then = SQL("t.finished_at - make_interval(days => {})").format(Literal(days))
    _copies(seat, rows, {"finished_at": then}, days)


def pending(seat: Seat, rows: int) -> None:
    """Add deliveries that are due; the workers have to be frozen."""
    seat.probe("one", order=ORDER, stock=STOCK)
    seat.broker.flushdb()
    _copies(seat, rows, {}, 0)


def _copies(seat: Seat, rows: int, changes: Changes, days: int) -> None:
    with seat.stand.sql(seat.database) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET session_replication_role = replica")  # no FK checks
        _templates(connection)
        for first in range(0, rows, BATCH):
            numbers = (first, min(first + BATCH, rows) - 1)
            connection.execute(_batch(connection, changes, numbers, days))
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _templates(connection: Connection[Any]) -> None:
    """Move the row to be copied, and its event, out of the tables."""
    like = f"%{ORDER}%"
    connection.execute(
        "CREATE TEMP TABLE t_event AS"
        " SELECT * FROM signal_tasks_event WHERE payload LIKE %s",
        [like],
    )
    connection.execute(
        "CREATE TEMP TABLE t_delivery AS SELECT * FROM signal_tasks_delivery"
        " WHERE event_id IN (SELECT id FROM t_event)"
    )
    for table, key in (("delivery", "event_id"), ("event", "id")):
        connection.execute(
            f"DELETE FROM signal_tasks_{table}"  # noqa: S608
            f" WHERE {key} IN (SELECT id FROM t_event)".encode()
        )


def _batch(
    connection: Connection[Any], changes: Changes, numbers: tuple[int, int], days: int
) -> Composed:
    """Insert copies whose ids are of the age that the rows have."""
    age = SQL("uuidv7(make_interval(days => {}))").format(Literal(-days))
    event = {"id": SQL("ids.event"), "payload": PAYLOAD}
    delivery = {"id": SQL("ids.delivery"), "event_id": SQL("ids.event"), **changes}
    return SQL(
        "WITH ids AS MATERIALIZED (SELECT n, {age} AS event, {age} AS delivery"
        " FROM generate_series({first}, {last}) n), e AS ({event}) {delivery}"
    ).format(
        age=age,
        first=Literal(numbers[0]),
        last=Literal(numbers[1]),
        event=_insert(connection, "event", event),
        delivery=_insert(connection, "delivery", delivery),
    )


def _insert(connection: Connection[Any], table: str, changes: Changes) -> Composable:
    columns = [
        name
        for (name,) in connection.execute(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = %s",
            [f"signal_tasks_{table}"],
        )
    ]
    values = [
        changes.get(name) or SQL("t.{}").format(Identifier(name)) for name in columns
    ]
    return SQL("INSERT INTO {} ({}) SELECT {} FROM ids, {} t").format(
        Identifier(f"signal_tasks_{table}"),
        SQL(", ").join(map(Identifier, columns)),
        SQL(", ").join(values),
        Identifier(f"t_{table}"),
    )
