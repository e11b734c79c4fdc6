"""What a receiver leaves behind on its connection harms nobody, and is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from django.db import Error, connection, connections, transaction

from signal_tasks import AsyncSignal
from signal_tasks.db import leftovers
from signal_tasks.db.leftovers import AUTOCOMMIT, CLOSED, ENDS, ISOLATION, LEFT_OPEN
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Attempt, Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import (
    AT_ONCE,
    atomic_or_not,
    connect,
    ids_of,
    run,
    send,
)
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

on_postgres = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="settings of PostgreSQL"
)
on_mysql = pytest.mark.skipif(connection.vendor != "mysql", reason="settings of MySQL")
Leave = Callable[[], object]


def execute(statement: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def executes(*statements: str) -> Leave:
    return lambda: [execute(statement) for statement in statements]


def close() -> None:
    connection.close()


def enter() -> None:
    transaction.atomic().__enter__()


def no_autocommit() -> None:
    transaction.set_autocommit(False)
    Effect.objects.create(what="never committed")


def no_autocommit_in_driver() -> None:
    driver: Any = connection.connection
    if connection.vendor == "mysql":
        driver.autocommit(False)
    else:
        driver.autocommit = False


def another_isolation() -> None:
    driver: Any = connection.connection
    driver.isolation_level = 4  # serializable


def leaves(leave: Leave) -> Callable[..., None]:
    """Make a receiver that writes and then leaves something, if it is told to."""

    def leaving(
        sender: object, key: object = "", leave_it: bool = True, **_: Any
    ) -> None:
        Effect.objects.create(what="before", key=str(key))
        if leave_it:
            leave()

    return leaving


def told(handle: Any) -> str:
    """Return the only recorded error of a delivery that has failed once."""
    assert (handle.state, handle.attempts) == ("pending", 1)
    return Attempt.objects.get().error


def assert_connection_is_as_new() -> None:
    assert connection.get_autocommit()
    assert not connection.in_atomic_block
    assert connection.atomic_blocks == []
    Effect.objects.create(what="kept")
    connection.close()
    assert Effect.objects.filter(what="kept").count() == 1


OUTSIDE = {
    "an open block": (enter, LEFT_OPEN),
    "autocommit off": (no_autocommit, AUTOCOMMIT),
    "autocommit off for the driver alone": (no_autocommit_in_driver, AUTOCOMMIT),
    "a transaction that Django does not know": (executes("BEGIN"), LEFT_OPEN),
}
if connection.vendor == "sqlite":  # whose driver has no autocommit of its own
    del OUTSIDE["autocommit off for the driver alone"]


@pytest.mark.parametrize("what", OUTSIDE)
def test_a_receiver_outside_of_transactions_is_told_what_it_leaves(
    what: str, signal: AsyncSignal
) -> None:
    leave, sentence = OUTSIDE[what]
    connect(signal, leaves(leave), atomic=False, retry=AT_ONCE)
    assert told(run(send(signal))) == sentence
    assert_connection_is_as_new()


@pytest.mark.parametrize("what", OUTSIDE)
def test_an_error_of_the_receiver_is_recorded_although_it_leaves_a_transaction(
    what: str, signal: AsyncSignal
) -> None:
    leave, _ = OUTSIDE[what]

    def fail(sender: object, **kwargs: Any) -> None:
        leave()
        raise LookupError("on the way")

    connect(signal, fail, atomic=False, retry=AT_ONCE)
    assert told(run(send(signal))) == "on the way"
    assert_connection_is_as_new()


INSIDE = {"an open block": (enter, LEFT_OPEN), "no connection": (close, CLOSED)}


@pytest.mark.parametrize("what", INSIDE)
def test_an_atomic_receiver_is_told_what_it_leaves(
    what: str, signal: AsyncSignal
) -> None:
    leave, sentence = INSIDE[what]
    connect(signal, leaves(leave), retry=AT_ONCE)
    assert told(run(send(signal))) == sentence
    assert not Effect.objects.exists()
    assert_connection_is_as_new()


def test_a_statement_after_the_receiver_has_closed_its_connection_is_its_failure(
    signal: AsyncSignal,
) -> None:
    def close_and_go_on() -> None:
        close()
        Effect.objects.exists()

    connect(signal, leaves(close_and_go_on), retry=AT_ONCE)
    handle = send(signal)
    for _ in range(3):
        run_pending()
    assert (handle.refresh().state, handle.attempts) == ("dead", 3)
    assert Attempt.objects.count() == 3


def test_a_receiver_outside_of_transactions_may_close_its_connection(
    signal: AsyncSignal,
) -> None:
    connect(signal, leaves(close), atomic=False)
    assert run(send(signal)).state == "succeeded"


@pytest.mark.parametrize("what", INSIDE)
@pytest.mark.parametrize("timeout", [None, 30])
def test_what_shares_a_transaction_with_it_succeeds_in_one_attempt(
    timeout: float | None, what: str, signal: AsyncSignal
) -> None:
    leave, sentence = INSIDE[what]
    connect(signal, leaves(leave), name="t.left", timeout=timeout)
    items = [{"key": key, "leave_it": key == 2} for key in range(5)]
    signal.send_many(sender=None, items=items)
    process_message("t.left", ids_of(signal, "t.left"), "default", seconds=math.inf)
    states = Delivery.objects.order_by("pk").values_list("state", "attempts")
    expected = [("succeeded", 1)] * 5
    expected[2] = ("pending", 1)
    assert list(states) == expected
    assert Attempt.objects.get().error == sentence
    keys = Effect.objects.values_list("key", flat=True)
    assert sorted(keys) == ["0", "1", "3", "4"]


SETTINGS = {
    "search_path": "SET search_path = pg_catalog",
    "TimeZone": "SET TIME ZONE 'Asia/Tokyo'",
    "role": "SET ROLE pg_monitor",
    "default_transaction_isolation": "SET SESSION CHARACTERISTICS AS TRANSACTION "
    "ISOLATION LEVEL SERIALIZABLE",
    "app.tenant": "SELECT set_config('app.tenant', 'seven', false)",
}


@on_postgres
@atomic_or_not
@pytest.mark.parametrize("name", SETTINGS)
def test_a_receiver_is_told_which_settings_it_leaves(
    name: str, atomic: bool, signal: AsyncSignal
) -> None:
    connect(signal, leaves(executes(SETTINGS[name])), atomic=atomic, retry=AT_ONCE)
    backend = execute("SELECT pg_backend_pid()")
    assert f"changed {name} of its database session" in told(run(send(signal)))
    assert execute("SELECT pg_backend_pid()") != backend


@on_postgres
@pytest.mark.parametrize("name", SETTINGS)
def test_the_next_delivery_runs_without_the_settings_of_the_last(
    name: str, signal: AsyncSignal
) -> None:
    seen: list[tuple[str, ...]] = []

    def look(sender: object, first: bool, **kwargs: Any) -> None:
        seen.append(
            execute(
                "SELECT array[current_setting('search_path'), current_user, "
                "current_setting('TimeZone'), current_setting('app.tenant', true), "
                "current_setting('default_transaction_isolation')]::text"
            )
        )
        if first:
            execute(SETTINGS[name])

    connect(signal, look, name="t.looking", retry=AT_ONCE)
    items = [{"first": True}, {"first": False}, {"first": False}]
    signal.send_many(sender=None, items=items)
    process_message(
        "t.looking", ids_of(signal, "t.looking"), "default", seconds=math.inf
    )
    assert len(set(seen)) == 1
    assert Delivery.objects.filter(state="succeeded").count() == 2


@on_postgres
@atomic_or_not
@pytest.mark.parametrize(
    "statements",
    [
        ("SET LOCAL search_path = public, pg_catalog",),
        ("SELECT set_config('app.tenant', 'seven', true)",),
        ("SET search_path = pg_catalog", "RESET search_path"),
        ("SET app.tenant = 'seven'", "RESET app.tenant"),
        ("SET application_name = 'receiver'",),
    ],
)
def test_settings_that_end_with_the_transaction_or_are_reset_are_no_failure(
    statements: tuple[str, ...], atomic: bool, signal: AsyncSignal
) -> None:
    connect(signal, leaves(executes(*statements)), atomic=atomic)
    assert run(send(signal)).state == "succeeded"


@on_postgres
def test_a_receiver_is_told_that_it_changed_the_isolation_level(
    signal: AsyncSignal,
) -> None:
    connect(signal, leaves(another_isolation), atomic=False, retry=AT_ONCE)
    assert told(run(send(signal))) == ISOLATION
    assert (
        connection.connection is None or connection.connection.isolation_level is None
    )


@on_mysql
@atomic_or_not
@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("time_zone", "SET time_zone = '+09:00'"),
        ("tx_isolation", "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        ("foreign_key_checks", "SET foreign_key_checks = 0"),
    ],
)
def test_a_receiver_is_told_which_variables_it_leaves(
    name: str, statement: str, atomic: bool, signal: AsyncSignal
) -> None:
    connect(signal, leaves(executes(statement)), atomic=atomic, retry=AT_ONCE)
    before = execute("SELECT CONNECTION_ID()")
    assert name in told(run(send(signal)))
    assert execute("SELECT CONNECTION_ID()") != before


@on_postgres
@atomic_or_not
def test_settings_that_come_with_a_library_are_no_failure(
    atomic: bool, signal: AsyncSignal
) -> None:
    statements = (
        "SET statement_timeout = '5s'",
        "DO $$ BEGIN PERFORM 1; END $$",
        "RESET statement_timeout",
    )
    connect(signal, leaves(executes(*statements)), atomic=atomic, retry=AT_ONCE)
    handle = send(signal)
    connection.close()
    assert run(handle).state == "succeeded"


@on_postgres
@atomic_or_not
def test_a_connection_found_lost_by_a_setting_spends_no_attempt(
    atomic: bool, signal: AsyncSignal
) -> None:
    calls: list[int] = []

    def lose_it(sender: object, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            other = connections["default"].copy()
            pid = execute("SELECT pg_backend_pid()")
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            other.close()
        execute("SET statement_timeout = '5s'")
        execute("RESET statement_timeout")

    connect(signal, lose_it, atomic=atomic, retry=AT_ONCE)
    handle = send(signal)
    for _ in range(2):
        run_pending()
    assert (handle.refresh().state, handle.attempts) == ("succeeded", 1)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="has no server to lose")
def test_a_fault_of_another_database_is_not_ours_after_an_error_that_was_caught(
    signal: AsyncSignal,
) -> None:
    def catch_and_lose_another(sender: object, **kwargs: Any) -> None:
        try:
            with transaction.atomic():
                execute("SELECT * FROM no_such_table")
        except Error:
            pass
        other = connections["default"].copy("gone")
        other.settings_dict = other.settings_dict | {"HOST": "127.0.0.1", "PORT": "1"}
        other.cursor()

    connect(signal, catch_and_lose_another, retry=AT_ONCE)
    assert run(send(signal)).attempts == 1


@on_mysql
def test_a_variable_changed_before_an_error_does_not_outlive_the_connection(
    signal: AsyncSignal,
) -> None:
    def change_and_fail() -> None:
        execute("SET foreign_key_checks = 0")
        Effect.objects.create(pk=1, what="twice")
        Effect(pk=1, what="twice").save(force_insert=True)

    connect(signal, leaves(change_and_fail), retry=AT_ONCE)
    before = execute("SELECT CONNECTION_ID()")
    assert "1062" in told(run(send(signal)))
    assert execute("SELECT CONNECTION_ID()") != before


SIGNS: dict[str, Any] = {
    "bytes": b"SET search_path = pg_catalog, public",
    "comment": "/* shop */ -- web\n SET search_path = pg_catalog, public",
    "second": "SELECT 1; SET search_path = pg_catalog, public",
    "upper case": "SELECT SET_CONFIG('search_path', 'pg_catalog, public', false)",
    "nested": "SELECT set_config('search_path', concat('pg_catalog', ', public'), false)",
}


@on_postgres
@pytest.mark.parametrize("how", SIGNS)
def test_a_setting_is_noticed_however_it_is_written(
    how: str, signal: AsyncSignal
) -> None:
    def change() -> None:
        with connection.cursor() as cursor:
            cursor.execute(SIGNS[how])

    connect(signal, leaves(change), retry=AT_ONCE)
    assert "changed search_path" in told(run(send(signal)))


@pytest.mark.parametrize(
    ("statement", "end"),
    [("COMMIT", "COMMIT"), ("ROLLBACK", "ROLLBACK"), ("/* now */ commit", "COMMIT")],
)
def test_a_statement_that_ends_the_transaction_of_a_receiver_is_not_sent(
    statement: str, end: str, signal: AsyncSignal
) -> None:
    connect(signal, leaves(executes(statement)), retry=AT_ONCE)
    assert told(run(send(signal))) == ENDS.format(end)
    assert not Effect.objects.exists()


@on_mysql
@pytest.mark.parametrize(
    ("statement", "end"),
    [
        ("begin", "BEGIN"),
        ("START  TRANSACTION READ ONLY", "START TRANSACTION"),
        ("CREATE TABLE of_a_receiver (id int)", "CREATE"),
        ("CREATE OR REPLACE TABLE of_a_receiver (id int)", "CREATE OR REPLACE"),
        ("TRUNCATE TABLE testapp_effect", "TRUNCATE"),
        ("ANALYZE LOCAL TABLE testapp_effect", "ANALYZE LOCAL TABLE"),
        ("CHECK TABLE testapp_effect", "CHECK TABLE"),
        ("FLUSH TABLES", "FLUSH"),
        ("SET SESSION autocommit = 1", "SET SESSION AUTOCOMMIT = 1"),
    ],
)
def test_a_statement_that_commits_by_itself_is_not_sent_in_a_transaction(
    statement: str, end: str, signal: AsyncSignal
) -> None:
    connect(signal, leaves(executes(statement)), retry=AT_ONCE)
    assert told(run(send(signal))) == ENDS.format(end)
    assert not Effect.objects.exists()


@on_mysql
@pytest.mark.parametrize("kind", ["TEMPORARY", "OR REPLACE TEMPORARY"])
def test_a_temporary_table_ends_no_transaction(kind: str, signal: AsyncSignal) -> None:
    create = f"CREATE {kind} TABLE of_a_receiver (id int)"
    drop = "DROP TEMPORARY TABLE of_a_receiver"
    connect(signal, leaves(executes(create, drop)), retry=AT_ONCE)
    assert run(send(signal)).state == "succeeded"


@on_mysql
@pytest.mark.parametrize(
    "statement",
    [
        "DROP PREPARE of_a_receiver",
        "ANALYZE SELECT * FROM testapp_effect",
        "SET @autocommit = 1",
    ],
)
def test_nor_does_what_only_looks_like_it(statement: str, signal: AsyncSignal) -> None:
    prepare = "PREPARE of_a_receiver FROM 'SELECT 1'"
    connect(signal, leaves(executes(prepare, statement)), retry=AT_ONCE)
    assert run(send(signal)).state == "succeeded"


@on_mysql
def test_a_receiver_may_end_a_transaction_of_its_own(signal: AsyncSignal) -> None:
    def reload() -> None:
        with transaction.atomic():
            execute("TRUNCATE TABLE testapp_effect")
            Effect.objects.create(what="anew")

    connect(signal, leaves(reload), retry=AT_ONCE, atomic=False)
    assert run(send(signal)).state == "succeeded"
    assert Effect.objects.filter(what="anew").exists()


@on_mysql
def test_a_block_of_a_receivers_own_changes_no_session(signal: AsyncSignal) -> None:
    """In a block Django turns autocommit off, and a transaction is open."""

    def count() -> None:
        with transaction.atomic():
            Effect.objects.create(what="in a block")
            execute("SET @counted = 1")

    connect(signal, leaves(count), retry=AT_ONCE, atomic=False)
    assert run(send(signal)).state == "succeeded"


@on_postgres
@pytest.mark.parametrize(
    "local",
    [
        "SET LOCAL statement_timeout = '5s'",
        "SET LOCAL \"statement_timeout\" = '5s'",
        "SET LOCAL TIME ZONE 'Asia/Tokyo'",
        "SELECT set_config('statement_timeout', '5s', true)",
        "SELECT set_config('shop.tenant', 'one', true)",
    ],
)
@atomic_or_not
def test_what_ends_with_the_transaction_is_left_to_nobody(
    atomic: bool, local: str, signal: AsyncSignal
) -> None:
    def change() -> None:
        with transaction.atomic():
            execute(local)
            execute("SET search_path TO public, shop")
            execute(local)
            execute("RESET search_path")

    connect(signal, leaves(change), retry=AT_ONCE, atomic=atomic)
    assert run(send(signal)).state == "succeeded"


@on_mysql
@pytest.mark.parametrize("begin", ["BEGIN", "START TRANSACTION"])
def test_a_transaction_that_the_driver_does_not_tell_of_is_found(
    begin: str, signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = leftovers.READERS["mysql"]
    silent = lambda *known: reader(*known)._replace(in_transaction=False)  # noqa: E731
    monkeypatch.setitem(leftovers.READERS, "mysql", silent)
    connect(signal, leaves(executes(begin)), retry=AT_ONCE, atomic=False)
    assert told(run(send(signal))) == LEFT_OPEN


@on_mysql
def test_a_transaction_that_is_over_again_is_no_fault(signal: AsyncSignal) -> None:
    ends = executes("BEGIN", "COMMIT")
    connect(signal, leaves(ends), retry=AT_ONCE, atomic=False)
    assert run(send(signal)).state == "succeeded"


def test_a_receiver_may_go_on_over_a_new_connection(signal: AsyncSignal) -> None:
    """Django sets up the new session by statements of its own."""

    def tidying(sender: object, **kwargs: Any) -> None:
        connection.close()
        Effect.objects.create(what="over a new connection")

    connect(signal, tidying, atomic=False, retry=AT_ONCE)
    assert run(send(signal)).state == "succeeded"


@pytest.mark.skipif(connection.vendor == "sqlite", reason="has no settings")
def test_what_it_changes_over_a_new_connection_is_told(signal: AsyncSignal) -> None:
    on_server = {
        "postgresql": "statement_timeout = '17s'",
        "mysql": "time_zone = '+09:00'",
    }
    setting = on_server[connection.vendor]

    def changing(sender: object, **kwargs: Any) -> None:
        connection.close()
        execute(f"SET {setting}")

    connect(signal, changing, atomic=False, retry=AT_ONCE)
    assert run(send(signal)).state == "pending"
    assert setting.split()[0] in Attempt.objects.get().error
