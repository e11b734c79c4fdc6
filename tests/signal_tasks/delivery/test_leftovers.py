"""What a receiver leaves behind on its connection harms nobody, and is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from signal_tasks import AsyncSignal
from signal_tasks.delivery.leftovers import AUTOCOMMIT, CLOSED, ISOLATION, LEFT_OPEN
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


def execute(statement: str) -> Any:
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
