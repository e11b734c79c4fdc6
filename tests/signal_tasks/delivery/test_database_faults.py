"""Faults of the database are no failures of the receiver that meets them."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import Error, OperationalError, connection, connections, transaction

from signal_tasks import AsyncSignal, RetryPolicy, current_delivery
from signal_tasks.delivery import process
from signal_tasks.delivery.failures import FREE_RUNS
from signal_tasks.delivery.message import process_message
from signal_tasks.delivery.singly import RUN_AGAIN
from signal_tasks.models import Attempt, Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import (
    atomic_or_not,
    connect,
    ids_of,
    run,
    send,
)
from tests.testapp.models import Effect

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="needs a server"),
]

#: A policy that gives up at once on every error of a database.
PICKY = RetryPolicy(
    max_attempts=2, backoff=0, jitter=False, retry_on=(OSError,), give_up_on=(Error,)
)
END_SESSION = {
    "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
    "mysql": "KILL CONNECTION_ID()",
}
DEADLOCK = {
    "postgresql": "DO $$ BEGIN RAISE 'lost' USING ERRCODE = '40P01'; END $$",
    "mysql": "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'lost'",
}


def execute(statements: dict[str, str], database: str = "default") -> None:
    """Have the server of a database execute its statement of these."""
    with connections[database].cursor() as cursor:
        cursor.execute(statements[connections[database].vendor])


class Fragile:
    """A receiver that meets a fault in its first few runs."""

    def __init__(self, fault: dict[str, str], times: int = 99, **how: Any) -> None:
        self.fault, self.times, self.how = fault, times, how
        self.runs: Counter[object] = Counter()
        self.__name__ = "fragile"

    def __call__(
        self, sender: object, key: object = "", broken: bool = True, **_: Any
    ) -> None:
        self.runs[key] += 1
        Effect.objects.create(what="before", key=str(key))
        if broken and self.runs[key] <= self.times:
            execute(self.fault, **self.how)
        Effect.objects.create(what="after", key=str(key))


def outcome(signal: AsyncSignal, fragile: Any, **options: Any) -> tuple[Any, ...]:
    """Run the delivery of one event until nothing is due; return what came of it."""
    connect(signal, fragile, retry=PICKY, **options)
    handle = send(signal)
    while run_pending():
        pass
    handle.refresh()
    return handle.state, handle.reason, handle.attempts


def records() -> list[tuple[int, str]]:
    return list(Attempt.objects.values_list("number", "consequence"))


@atomic_or_not
def test_a_lost_connection_spends_no_attempt_whatever_the_policy_says(
    atomic: bool, signal: AsyncSignal
) -> None:
    fragile = Fragile(END_SESSION, times=FREE_RUNS)
    assert outcome(signal, fragile, atomic=atomic) == ("succeeded", "", 1)
    assert fragile.runs[""] == FREE_RUNS + 1
    assert records() == [(1, "released")] * FREE_RUNS
    if atomic:
        assert Effect.objects.count() == 2


@atomic_or_not
def test_a_receiver_that_always_loses_its_connection_is_given_up_at_last(
    atomic: bool, signal: AsyncSignal
) -> None:
    fragile = Fragile(END_SESSION)
    assert outcome(signal, fragile, atomic=atomic) == ("dead", "exhausted", 2)
    assert fragile.runs[""] == 2 * (FREE_RUNS + 1)
    freely = [(1, "released")] * FREE_RUNS, [(2, "released")] * FREE_RUNS
    assert records() == [*freely[0], (1, "retried"), *freely[1], (2, "dead")]


@atomic_or_not
def test_an_error_that_was_raised_because_the_connection_was_lost_is_no_failure(
    atomic: bool, signal: AsyncSignal
) -> None:
    seen = []

    def translate(sender: object, **kwargs: Any) -> None:
        seen.append(current_delivery().attempt)
        try:
            if len(seen) == 1:
                execute(END_SESSION)
        except Error as error:
            raise LookupError("a service is away") from error

    assert outcome(signal, translate, atomic=atomic) == ("succeeded", "", 1)
    assert seen == [1, 1]


@atomic_or_not
def test_what_shares_a_message_with_a_lost_connection_succeeds_in_one_attempt(
    atomic: bool, signal: AsyncSignal
) -> None:
    fragile = Fragile(END_SESSION)
    name = f"t.shared_{atomic}"
    connect(signal, fragile, name=name, retry=PICKY, atomic=atomic)
    items = [{"key": key, "broken": key == 2} for key in range(5)]
    signal.send_many(sender=None, items=items)
    process_message(name, ids_of(signal, name), "default", seconds=math.inf)
    states = Delivery.objects.values_list("state", "attempts")
    assert Counter(states) == {("succeeded", 1): 4, ("pending", 0): 1}
    after = Effect.objects.filter(what="after").values_list("key", flat=True)
    assert sorted(after) == ["0", "1", "3", "4"]


@atomic_or_not
def test_the_lost_connection_of_another_database_is_left_to_the_policy(
    atomic: bool, signal: AsyncSignal
) -> None:
    fragile = Fragile(END_SESSION, database="other")
    assert outcome(signal, fragile, atomic=atomic) == ("dead", "rejected", 1)
    assert fragile.runs[""] == 1


def test_a_lost_transaction_is_run_again_at_once(signal: AsyncSignal) -> None:
    fragile = Fragile(DEADLOCK, times=len(RUN_AGAIN))
    connect(signal, fragile, retry=PICKY)
    assert run(send(signal)).state == "succeeded"
    assert fragile.runs[""] == len(RUN_AGAIN) + 1
    assert Effect.objects.count() == 2
    assert records() == []


def test_after_a_lost_transaction_of_several_the_next_ones_share_none(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SINGLE_DELIVERIES", 4)
    fragile = Fragile(DEADLOCK, times=1)
    name = f"t.{uuid.uuid4().hex}"
    connect(signal, fragile, name=name, retry=PICKY)
    for keys in ("ab", "cd", "ef"):
        items = [{"key": key, "broken": key in "bdf"} for key in keys]
        signal.send_many(sender=None, items=items)
        process_message(name, ids_of(signal, name), "default", seconds=math.inf)
    assert fragile.runs == {"a": 2, "b": 2, "c": 1, "d": 2, "e": 1, "f": 2}
    signal.send_many(
        sender=None, items=[{"key": key, "broken": key == "h"} for key in "gh"]
    )
    process_message(name, ids_of(signal, name), "default", seconds=math.inf)
    assert fragile.runs["g"] == 2  # together again
    assert set(Delivery.objects.values_list("state", "attempts")) == {("succeeded", 1)}
    assert records() == []


SET_TIME_ZONE = {
    "postgresql": "SET TIME ZONE 'Asia/Tokyo'",
    "mysql": "SET time_zone = '+09:00'",
}
TIME_ZONE = {"postgresql": "SHOW TIME ZONE", "mysql": "SELECT @@time_zone"}


def time_zone() -> str:
    with connection.cursor() as cursor:
        cursor.execute(TIME_ZONE[connection.vendor])
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("fault", [DEADLOCK, END_SESSION])
def test_a_fault_in_a_changed_session_spends_no_attempt_and_leaves_no_change(
    others: int, fault: dict[str, str], signal: AsyncSignal
) -> None:
    usual, seen = time_zone(), []

    def fragile(sender: object, key: int, **kwargs: Any) -> None:
        seen.append((key, time_zone()))
        if key == others and len(seen) == others + 1:
            execute(SET_TIME_ZONE)
            execute(fault)

    connect(signal, fragile, name="t.changes", retry=PICKY)
    signal.send_many(sender=None, items=[{"key": key} for key in range(others + 1)])
    while run_pending():
        pass
    states = Delivery.objects.values_list("state", "attempts")
    assert set(states) == {("succeeded", 1)}
    assert {zone for _, zone in seen} == {usual}
    assert len(seen) > others + 1
    assert time_zone() == usual


def test_a_transaction_that_is_always_lost_is_retried_and_never_rejected(
    signal: AsyncSignal,
) -> None:
    fragile = Fragile(DEADLOCK)
    assert outcome(signal, fragile) == ("dead", "exhausted", 2)
    assert fragile.runs[""] == 2 * (len(RUN_AGAIN) + 1)
    assert records() == [(1, "retried"), (2, "dead")]


def test_a_deadlock_outside_of_our_transaction_is_left_to_the_policy(
    signal: AsyncSignal,
) -> None:
    fragile = Fragile(DEADLOCK)
    assert outcome(signal, fragile, atomic=False) == ("dead", "rejected", 1)
    assert fragile.runs[""] == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="a mode of PostgreSQL's")
@atomic_or_not
def test_a_connection_that_cannot_write_any_more_is_left(
    atomic: bool, signal: AsyncSignal
) -> None:
    backends = []

    def note(sender: object, **kwargs: Any) -> None:
        with connection.cursor() as cursor, transaction.atomic():
            cursor.execute("SELECT pg_backend_pid()")
            backends.append(cursor.fetchone())
            if len(backends) == 1:
                cursor.execute("SET TRANSACTION READ ONLY")
                Effect.objects.create(what="refused")

    assert outcome(signal, note, atomic=atomic) == ("succeeded", "", 1)
    assert len(set(backends)) == 2


READ_ONLY_USER = """
    CREATE USER IF NOT EXISTS 'receivers'@'%' IDENTIFIED BY 'secret';
    GRANT SELECT, INSERT, UPDATE, DELETE ON {}.* TO 'receivers'@'%'
"""


@pytest.fixture
def _as_user_who_obeys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connect as a user whom ``read_only`` of the server concerns."""
    database = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        for statement in READ_ONLY_USER.format(database).split(";"):
            cursor.execute(statement)
    connection.close()
    with monkeypatch.context() as patch:
        for name, value in (("USER", "receivers"), ("PASSWORD", "secret")):
            patch.setitem(connection.settings_dict, name, value)
        yield
        connection.close()
    execute({"mysql": "SET GLOBAL read_only = 0"})


@pytest.mark.skipif(connection.vendor != "mysql", reason="a mode of MariaDB's")
@pytest.mark.usefixtures("_as_user_who_obeys")
@pytest.mark.parametrize("known", [True, False])
def test_a_claim_leaves_a_server_that_cannot_write_any_more(
    known: bool, signal: AsyncSignal
) -> None:
    connect(signal, lambda **_: None, name="t.claimed")
    send(signal)
    ids = ids_of(signal, "t.claimed") if known else [str(uuid.uuid4())]
    with connections["other"].cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 1")
    with pytest.raises(OperationalError, match="read-only"):
        process_message("t.claimed", ids, "default", seconds=math.inf)
    assert connection.connection is None
