"""The statements that ``settled`` costs: none where it is not heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, Coalesce
from signal_tasks.models import Delivery, Event, UnsettledEvent
from signal_tasks.relay.pruning import prune_batch
from signal_tasks.relay.relay import Relay
from signal_tasks.relay.settling import forget_deleted, sweep
from signal_tasks.settling import settle
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.settling.steps import (
    finish_ago,
    hear_settled,
    let_pass,
    run,
    settlings,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

#: What waits behind an event that is about to settle, and is due for nobody.
FILL = """
INSERT INTO signal_tasks_unsettledevent (event_id, signal, check_at, checks)
SELECT gen_random_uuid(), %s, now() + n * interval '1 second', 0
FROM generate_series(1, 100000) AS n
"""


def made(call: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        call()
    return [query["sql"] for query in queries.captured_queries]


def about_it(statements: list[str]) -> list[str]:
    return [sql for sql in statements if "unsettled" in sql]


def test_a_send_that_is_heard_costs_one_statement_more(signal: AsyncSignal) -> None:
    listen(signal, name="t.first")
    listen(signal, name="t.second")
    signal.send(sender=None)
    plain = made(lambda: signal.send(sender=None))
    hear_settled(signal)
    heard = made(lambda: signal.send(sender=None))
    assert len(heard) == len(plain) + 1
    assert len(about_it(heard)) == 1


@pytest.mark.parametrize("events", [2, 150])
def test_so_does_a_send_of_many(signal: AsyncSignal, events: int) -> None:
    listen(signal)
    hear_settled(signal)
    items = [{"n": n} for n in range(events)]
    sent = made(lambda: signal.send_many(sender=None, items=items))
    assert len(about_it(sent)) == 1


def test_where_it_is_not_heard_nobody_looks(signal: AsyncSignal) -> None:
    """Even if another signal's is."""
    other = AsyncSignal(name="tests.other_one")
    hear_settled(other)
    listen(signal, name="t.only")
    assert not about_it(made(lambda: signal.send(sender=None)))
    assert not about_it(made(lambda: run("t.only")))


def test_a_worker_that_is_not_the_last_one_looks_once(signal: AsyncSignal) -> None:
    listen(signal, name="t.first")
    listen(signal, name="t.second")
    hear_settled(signal)
    signal.send(sender=None)
    assert len(about_it(made(lambda: run("t.first")))) == 1


def test_a_pass_of_a_relay_that_finds_nothing_looks_once(signal: AsyncSignal) -> None:
    listen(signal)
    hear_settled(signal)
    signal.send(sender=None)
    relay = Relay("relay@test")
    try:
        relay.run_once()
        looked = about_it(made(relay.run_once))
    finally:
        relay.close()
    assert len(looked) == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL explains it")
def test_what_waits_behind_costs_the_last_worker_and_a_relay_nothing(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.settled")
    with connection.cursor() as cursor:
        cursor.execute(FILL, [signal.name])
    signal.send(sender=None)
    relay = Relay("relay@test")
    try:
        relay.run_once()
        looked = made(lambda: run("t.only")) + made(relay.run_once)
    finally:
        relay.close()
    assert settlings(signal) == 1
    looks = [sql for sql in about_it(looked) if sql.startswith("SELECT")]
    assert looks
    for sql in looks:
        assert "Seq Scan on signal_tasks_unsettledevent" not in plan(sql), plan(sql)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL explains it")
def test_a_relay_takes_a_part_of_what_is_due_in_order(signal: AsyncSignal) -> None:
    hear_settled(signal)
    with connection.cursor() as cursor:
        cursor.execute(FILL, [signal.name])
        cursor.execute("ANALYZE signal_tasks_unsettledevent")
    let_pass(200_000)
    relay = Relay("relay@test")
    try:
        looked = about_it(made(relay.run_once))
    finally:
        relay.close()
    (taken, *_) = [sql for sql in looked if "LIMIT 100" in sql]
    found = plan(taken)
    assert "Index Scan using signal_tasks_unsettled" in found, found
    assert "Sort" not in found, found


def test_where_nothing_is_left_behind_nothing_is_deleted(
    signal: AsyncSignal, settings: Any
) -> None:
    keeps = {"KEEP_SUCCEEDED": timedelta(minutes=5)}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **keeps}
    listen(signal, name="t.only")
    hear_settled(signal, name="t.settled")
    signal.send(sender=None)
    let_pass(11)
    looked = made(lambda: sweep("default"))
    run("t.only")
    finish_ago(timedelta(hours=1))
    looked += made(lambda: prune_batch("default"))
    assert not Event.objects.filter(signal=signal.name).exists()
    assert about_it(looked)
    assert not [sql for sql in about_it(looked) if sql.startswith("DELETE")]


@pytest.mark.parametrize("sends", [2, 20])
def test_however_many_sends_a_transaction_merges_one_look_comes_after_it(
    signal: AsyncSignal, sends: int
) -> None:
    merged = Coalesce(key=lambda sender, **_: "a", within=60)
    listen(signal, name="t.merged", coalesce=merged)
    listen(signal, name="t.each")
    hear_settled(signal)

    def send() -> None:
        with transaction.atomic():
            for _ in range(sends):
                signal.send(sender=None)

    looks = [sql for sql in about_it(made(send)) if "EXISTS" in sql]
    assert len(looks) == 1


on_mariadb = pytest.mark.skipif(
    connection.vendor != "mysql", reason="MariaDB scans small tables"
)


def finish_all() -> None:
    finish(Delivery.objects.all(), "succeeded")


def finish_long_ago() -> None:
    finish_ago(timedelta(days=30))


def settle_all_at_once(signal: AsyncSignal) -> None:
    settle(waiting(), database="default")


def look_as_a_relay(signal: AsyncSignal) -> None:
    sweep("default")


def look_for_the_deleted(signal: AsyncSignal) -> None:
    forget_deleted("default")


def prune(signal: AsyncSignal) -> None:
    prune_batch("default")


def merge(signal: AsyncSignal) -> None:
    signal.send_many(sender=None, items=[{"n": n} for n in range(8)])


@on_mariadb
@pytest.mark.parametrize(
    ("before", "act", "locks", "updates", "deletes"),
    [
        (finish_all, settle_all_at_once, 1, 0, 8),
        (lambda: let_pass(11), look_as_a_relay, 1, 1, 0),
        (Event.objects.all().delete, look_for_the_deleted, 0, 0, 8),
        (finish_long_ago, prune, 0, 0, 8),
        (Delivery.objects.filter(receiver="t.only").delete, merge, 0, 0, 8),
    ],
)
def test_nobody_locks_a_row_of_others_on_the_way(
    signal: AsyncSignal,
    before: Callable[[], object],
    act: Callable[[AsyncSignal], None],
    locks: int,
    updates: int,
    deletes: int,
) -> None:
    """They would skip it, and leave the event to a relay, or wait for each other."""
    merged = Coalesce(key=lambda sender, n, **_: str(n), within=60)
    items = [{"n": n} for n in range(8)]
    listen(signal, name="t.only")
    listen(signal, name="t.merged", coalesce=merged)
    hear_settled(signal)
    signal.send_many(sender=None, items=items)
    before()
    of_it = about_it(made(lambda: act(signal)))
    looked = [sql for sql in of_it if "signal_tasks_delivery" not in sql]
    UnsettledEvent.objects.all().delete()
    signal.send_many(sender=None, items=items)
    found = Counter(sql.split()[0] for sql in looked if "FOR UPDATE" not in sql)
    locking = [sql for sql in looked if "FOR UPDATE" in sql]
    assert (len(locking), found["UPDATE"], found["DELETE"]) == (locks, updates, deletes)
    changing = [sql for sql in looked if sql.startswith(("UPDATE", "DELETE"))]
    with connection.cursor() as cursor:
        for sql in (*locking, *changing):
            cursor.execute(f"EXPLAIN {sql}")
            assert cursor.fetchone()[3] in ("range", "const"), sql


def plan(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(row[0] for row in cursor.fetchall())
