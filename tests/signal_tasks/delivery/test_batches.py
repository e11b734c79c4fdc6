"""Deliveries of one message share statements, but no failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.delivery import outside
from signal_tasks.delivery.message import process_message
from signal_tasks.delivery.process import SAVEPOINT_TRANSACTIONS
from signal_tasks.models import Delivery
from signal_tasks.steering.snapshot import snapshot
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture
def calls() -> Counter[str]:
    """Count the calls of the receiver for each key."""
    return Counter()


@pytest.fixture
def connect(signal: AsyncSignal, calls: Counter[str]) -> Iterator[Any]:
    """Connect a receiver that writes a row, and fails for keys that say so."""

    def receiver(sender: object, key: str, **kwargs: Any) -> None:
        calls[key] += 1
        Thing.objects.create(name=key)
        if key.startswith("bad"):
            raise ValueError(key)

    def connect_it(**options: Any) -> None:
        signal.connect(receiver, name=signal.name, weak=False, **options)

    yield connect_it
    signal.disconnect(receiver)


def deliver(signal: AsyncSignal, *keys: str) -> list[str]:
    """Send and run in one message; return the first words of the statements."""
    signal.send_many(sender=None, items=[{"key": key} for key in keys])
    pending = Delivery.objects.filter(receiver=signal.name, state="pending").order_by(
        "pk"
    )
    ids = [str(pk) for pk in pending.values_list("pk", flat=True)]
    snapshot("default")  # what is steered is looked at every few seconds
    with CaptureQueriesContext(connection) as queries:
        process_message(signal.name, ids, "default", seconds=math.inf)
    return [query["sql"].split()[0] for query in queries.captured_queries]


def states() -> dict[str, int]:
    return dict(Counter(Delivery.objects.values_list("state", flat=True)))


def test_a_batch_that_goes_well_shares_a_transaction_and_its_finish(
    signal: AsyncSignal, connect: Any
) -> None:
    connect()
    done = deliver(signal, *(f"k{n}" for n in range(8)))
    work = ["BEGIN", *["INSERT"] * 8, "UPDATE", "COMMIT"]
    claim = ["BEGIN", "SELECT", "UPDATE", "COMMIT", "SELECT"]
    assert done == (["WITH"] if connection.vendor == "postgresql" else claim) + work


def test_one_that_fails_costs_its_neighbours_neither_attempt_nor_effect(
    signal: AsyncSignal, connect: Any, calls: Counter[str]
) -> None:
    connect(retry=ONCE)
    deliver(signal, "a", "b", "bad", "c")
    assert states() == {"succeeded": 3, "dead": 1}
    assert sorted(Thing.objects.values_list("name", flat=True)) == ["a", "b", "c"]
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}
    assert calls == {"a": 2, "b": 2, "bad": 1, "c": 1}


def test_after_a_failure_each_runs_in_a_savepoint_for_a_while(
    signal: AsyncSignal, connect: Any, calls: Counter[str]
) -> None:
    connect(retry=ONCE)
    deliver(signal, "a", "bad")
    calls.clear()
    done = deliver(signal, "b", "bad again", "c")
    assert done.count("SAVEPOINT") == 3
    assert calls == {"b": 1, "bad again": 1, "c": 1}
    for _ in range(SAVEPOINT_TRANSACTIONS):
        deliver(signal, "d", "e")
    assert deliver(signal, "f", "g").count("SAVEPOINT") == 0


def test_without_group_commit_each_is_a_transaction_of_its_own(
    signal: AsyncSignal, connect: Any, calls: Counter[str]
) -> None:
    connect(retry=ONCE, group_commit=False)
    done = deliver(signal, "a", "bad", "b")
    assert done.count("SAVEPOINT") == 0
    assert calls == {"a": 1, "bad": 1, "b": 1}
    assert states() == {"succeeded": 2, "dead": 1}
    assert sorted(Thing.objects.values_list("name", flat=True)) == ["a", "b"]


def test_a_receiver_with_a_time_limit_runs_in_savepoints_at_once(
    signal: AsyncSignal, connect: Any, calls: Counter[str]
) -> None:
    connect(retry=ONCE, timeout=30)
    assert deliver(signal, "a", "bad").count("SAVEPOINT") == 2
    assert calls == {"a": 1, "bad": 1}


def test_finishes_of_receivers_that_are_not_atomic_are_written_together(
    signal: AsyncSignal,
    connect: Any,
    calls: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        outside, "BUFFER_SECONDS", 60.0
    )  # longer than any machine takes
    connect(retry=ONCE, atomic=False)
    done = deliver(signal, *(f"k{n}" for n in range(8)))
    claims = 0 if connection.vendor == "postgresql" else 1
    assert done.count("UPDATE") == claims + 1
    assert set(calls.values()) == {1}


def test_one_that_is_not_atomic_fails_alone(
    signal: AsyncSignal, connect: Any, calls: Counter[str]
) -> None:
    connect(retry=ONCE, atomic=False)
    deliver(signal, "a", "bad", "b")
    assert states() == {"succeeded": 2, "dead": 1}
    assert calls == {"a": 1, "bad": 1, "b": 1}
    assert Thing.objects.count() == 3
