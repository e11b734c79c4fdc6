"""The codec between a sender and its database: hard values pass, refusals harm nothing.

Run on each database: what one of them would refuse must never get as far as there.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from signal_tasks import AsyncSignal, PayloadError
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.codec.values import identity

pytestmark = pytest.mark.django_db(transaction=True)

confirmed = AsyncSignal(name="tests.codec.confirmed")
heard: list[Any] = []


def hear(sender: object, value: Any, **kwargs: Any) -> None:
    heard.append(value)


@pytest.fixture(autouse=True)
def _connected() -> Iterator[None]:
    heard.clear()
    confirmed.connect(hear)
    yield
    confirmed.disconnect(hear)


def _cycle() -> object:
    cycle: list[object] = []
    cycle.append(cycle)
    return cycle


BAD: dict[str, Callable[[], object]] = {
    "large": lambda: "x" * 10_000_000,
    "cycle": _cycle,
    "unsaved": Group,
    "file": lambda: io.BytesIO(b"x"),
    "queryset": Group.objects.all,
    "code": lambda: hear,
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
def test_a_refusal_writes_nothing_and_leaves_the_transaction_usable(
    make: Callable[[], object],
) -> None:
    with transaction.atomic():
        Group.objects.create(name="before")
        with pytest.raises(PayloadError, match=r"tests\.codec\.confirmed: value"):
            confirmed.send(sender=None, value=make())
        Group.objects.create(name="after")
    assert set(Group.objects.values_list("name", flat=True)) == {"before", "after"}
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    "value",
    ["NUL \0", "\ud800 alone", "\ud83d\ude00", math.nan, -math.inf, Decimal("sNaN")],
    ids=ascii,
)
def test_what_databases_dislike_arrives_as_it_left(value: object) -> None:
    with transaction.atomic():
        confirmed.send(sender=None, value={"is": value})
    run_pending()
    assert identity(heard[0]["is"]) == identity(value)


def test_a_saved_instance_arrives_read_again() -> None:
    group = Group.objects.create(name="old")
    confirmed.send(sender=group, value=group)
    Group.objects.update(name="new")
    run_pending()
    assert [(type(got), got.name) for got in heard] == [(Group, "new")]
