"""Held deliveries: who holds them, who releases them, and when a row means nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection, transaction

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery, Gate, HeldDelivery
from signal_tasks.states import Hold
from signal_tasks.steering import holding
from signal_tasks.steering.holding import hold, prune_held, release_held
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import finish, listen

pytestmark = pytest.mark.django_db(transaction=True)
several_writers = pytest.mark.skipif(
    not connection.features.has_select_for_update, reason="one writer at a time"
)

GATE = "t.steered"


def held(number: int, signal: AsyncSignal) -> list[uuid.UUID]:
    """Send, and hold what was sent; return the ids."""
    listen(signal, name=GATE)
    signal.send_many(sender=None, items=[{}] * number)
    ids = list(Delivery.objects.order_by("pk").values_list("pk", flat=True))
    assert hold(ids, GATE, Hold.PAUSED, database="default") == number
    return ids


def waiting() -> list[uuid.UUID]:
    return list(HeldDelivery.objects.order_by("pk").values_list("pk", flat=True))


def due() -> int:
    return len(Delivery.objects.due(1000, names=[], early=0))


def elsewhere(call: Callable[[], Any]) -> Any:
    """Return what a call returns over a connection of its own."""
    results = []

    def run() -> None:
        try:
            results.append(call())
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    thread.join(20)
    (result,) = results
    return result


def test_the_oldest_are_released_first_and_no_more_than_asked_for(
    signal: AsyncSignal,
) -> None:
    ids = held(5, signal)
    assert release_held(GATE, 2, database="default") == 2
    assert waiting() == ids[2:]
    with transaction.atomic():
        assert due() == 2
    assert Gate.objects.get().holding


def test_the_last_to_be_released_opens_the_gate(signal: AsyncSignal) -> None:
    held(5, signal)
    assert release_held(GATE, 100, database="default") == 5
    assert not Gate.objects.get().holding
    assert release_held(GATE, 100, database="default") == 0


def test_many_are_held_and_released_in_several_transactions(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "BATCH", 3)
    held(10, signal)
    assert release_held(GATE, 8, database="default") == 8
    assert len(waiting()) == 2


def test_what_is_held_twice_is_held_at_the_last_gate(signal: AsyncSignal) -> None:
    ids = held(1, signal)
    hold(ids, "signal:another", Hold.LIMITED, database="default")
    row = HeldDelivery.objects.get()
    assert (row.receiver, row.why) == ("signal:another", "limited")


def test_what_has_finished_meanwhile_is_not_made_due(signal: AsyncSignal) -> None:
    held(3, signal)
    finish(Delivery.objects.all(), "discarded")
    assert release_held(GATE, 100, database="default") == 0
    assert waiting() == []
    assert set(Delivery.objects.values_list("state", flat=True)) == {"discarded"}


def test_what_was_discarded_does_not_stand_before_what_may_be_released(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "BATCH", 3)
    ids = held(12, signal)
    assert Delivery.objects.filter(pk__in=ids[:10]).discard() == 10
    assert release_held(GATE, 1, database="default") == 1
    assert waiting() == ids[11:]


def test_an_old_message_may_run_what_is_held(signal: AsyncSignal) -> None:
    held(2, signal)
    assert len(run_pending()) == 2
    assert release_held(GATE, 100, database="default") == 0
    assert waiting() == []


@several_writers
def test_what_another_has_locked_is_neither_held_nor_released(
    signal: AsyncSignal,
) -> None:
    ids = held(3, signal)
    with transaction.atomic():
        Delivery.objects.select_for_update().get(pk=ids[0])
        assert elsewhere(lambda: hold(ids, GATE, Hold.PAUSED, database="default")) == 2
        assert elsewhere(lambda: release_held(GATE, 100, database="default")) == 2
    assert waiting() == ids[:1]
    assert Gate.objects.get().holding
    assert release_held(GATE, 100, database="default") == 1
    assert not Gate.objects.get().holding


@several_writers
def test_two_relays_do_not_release_at_one_gate_together(signal: AsyncSignal) -> None:
    held(3, signal)
    with transaction.atomic():
        Gate.objects.select_for_update().get()
        assert elsewhere(lambda: release_held(GATE, 100, database="default")) == 0
    assert release_held(GATE, 100, database="default") == 3


@several_writers
def test_a_hold_during_a_release_is_not_lost_sight_of(signal: AsyncSignal) -> None:
    ids = held(3, signal)
    begun = Event()

    def hold_again() -> int:
        begun.set()
        return hold(ids, GATE, Hold.PAUSED, database="default")

    results: list[int] = []
    with transaction.atomic():
        release_held(GATE, 100, database="default")
        thread = Thread(target=lambda: results.append(close_after(hold_again)))
        thread.start()
        assert begun.wait(10)
    thread.join(20)
    assert results == [3]
    assert waiting() == ids
    assert Gate.objects.get().holding


def close_after(call: Callable[[], int]) -> int:
    try:
        return call()
    finally:
        connection.close()


def test_rows_that_mean_nothing_are_pruned_a_part_at_a_time(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "BATCH", 2)
    ids = held(5, signal)
    finish(Delivery.objects.filter(pk__in=[ids[0], ids[3]]), "discarded")
    Delivery.objects.filter(pk=ids[4]).delete()
    first = prune_held(None, database="default")
    assert waiting() == ids[1:]
    second = prune_held(first, database="default")
    assert waiting() == [ids[1], ids[2], ids[4]]
    assert prune_held(second, database="default") is None
    assert waiting() == [ids[1], ids[2]]


@several_writers
def test_a_relay_that_was_granted_a_number_waits_for_the_gate(
    signal: AsyncSignal,
) -> None:
    held(3, signal)
    released: list[int] = []

    def release() -> None:
        released.append(release_held(GATE, 2, database="default", wait=True))
        connection.close()

    thread = Thread(target=release)
    with transaction.atomic():
        Gate.objects.select_for_update().get(pk=GATE)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(20)
    assert released == [2]
