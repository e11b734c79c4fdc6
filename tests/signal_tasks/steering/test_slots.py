"""Places: the leases of a receiver, counted in the transaction of each claim."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection

from signal_tasks import AsyncSignal
from signal_tasks.db.claim import Claimed
from signal_tasks.db.clock import from_now
from signal_tasks.models import Delivery, Slot
from signal_tasks.steering.slots import claim_place, free_places
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.once.steps import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def name(signal: AsyncSignal) -> str:
    name = f"tests.receiver_{uuid.uuid4().hex}"
    listen(signal, name=name)
    return name


def send(signal: AsyncSignal, number: int) -> list[uuid.UUID]:
    signal.send_many(sender=None, items=[{}] * number)
    rows = Delivery.objects.filter(event__signal=signal.name).order_by("pk")
    return list(rows.values_list("pk", flat=True))[-number:]


def claim(name: str, ids: list[uuid.UUID], most: int) -> list[Claimed] | None:
    rows: Any = Delivery.objects.all()
    return claim_place(
        name, "default", most, lambda: rows.claim(ids, names=[name], lease=60)
    )


def test_a_batch_takes_one_place(signal: AsyncSignal, name: str) -> None:
    ids = send(signal, 12)
    assert len(claim(name, ids[:10], most=2) or ()) == 10
    assert free_places(name, "default", 2) == 1
    assert len(claim(name, ids[10:11], most=2) or ()) == 1
    assert free_places(name, "default", 2) == 0


def test_without_a_free_place_nothing_is_claimed(
    signal: AsyncSignal, name: str
) -> None:
    first, second = send(signal, 2)
    claim(name, [first], most=1)
    assert claim(name, [second], most=1) is None
    assert Delivery.objects.get(pk=second).state == "pending"


def test_a_batch_that_is_over_gives_its_place_back(
    signal: AsyncSignal, name: str
) -> None:
    first, second = send(signal, 2)
    claim(name, [first], most=1)
    finish(Delivery.objects.filter(pk=first), "succeeded")
    assert len(claim(name, [second], most=1) or ()) == 1
    assert list(Slot.objects.values_list("pk", flat=True)) == [second]


def test_a_place_is_kept_until_the_last_delivery_of_its_batch_is_over(
    signal: AsyncSignal, name: str
) -> None:
    first, second, third = send(signal, 3)
    claim(name, [first, second], most=1)
    finish(Delivery.objects.filter(pk=first), "succeeded")
    assert claim(name, [third], most=1) is None


def test_a_lease_that_is_over_gives_its_place_back(
    signal: AsyncSignal, name: str
) -> None:
    first, second = send(signal, 2)
    held = claim(name, [first], most=1)
    assert held
    Delivery.objects.release([first], held[0].lease)
    assert len(claim(name, [second], most=1) or ()) == 1


def test_a_delivery_that_runs_again_takes_a_place_again(
    signal: AsyncSignal, name: str
) -> None:
    (first,) = send(signal, 1)
    held = claim(name, [first], most=1)
    assert held
    Delivery.objects.release([first], held[0].lease)
    assert len(claim(name, [first], most=1) or ()) == 1
    assert free_places(name, "default", 1) == 0


def test_what_was_not_due_takes_no_place(signal: AsyncSignal, name: str) -> None:
    (first,) = send(signal, 1)
    Delivery.objects.update(available_at=from_now(60))
    assert claim(name, [first], most=1) == []
    assert free_places(name, "default", 1) == 1


def test_a_claim_that_is_rolled_back_takes_no_place(
    signal: AsyncSignal, name: str
) -> None:
    def fail() -> list[Claimed]:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        claim_place(name, "default", 1, fail)
    assert free_places(name, "default", 1) == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
def test_of_many_claims_at_once_no_more_succeed_than_there_are_places(
    signal: AsyncSignal, name: str
) -> None:
    ids = send(signal, 16)
    won, errors = at_once(16, lambda n: bool(claim(name, [ids[n]], most=3)))
    assert errors == []
    assert sum(won) == 3
    assert len(won) == 16
