"""``send_many``: all or nothing, in order, with the options of ``using``."""

from __future__ import annotations

from typing import Any

import pytest

from signal_tasks import AsyncSignal, PayloadError, current_delivery
from signal_tasks.models import Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db


def test_send_many_returns_the_ids_of_its_events_in_order(
    signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    ids = signal.send_many(sender=Thing, items=[{"n": 1}, {"n": 2}, {"n": 3}])
    assert list(Event.objects.order_by("id").values_list("id", flat=True)) == ids
    run_pending()
    assert heard == [{"sender": Thing, "n": n} for n in (1, 2, 3)]


def test_send_many_of_nothing_does_nothing(
    signal: AsyncSignal, django_assert_num_queries: Any
) -> None:
    listen(signal)
    with django_assert_num_queries(0):
        assert signal.send_many(sender=None, items=[]) == []


@pytest.mark.parametrize("items", [{"n": 1}, ["n"], [[("n", 1)]]])
def test_items_that_are_no_mappings_are_refused(
    items: Any, signal: AsyncSignal
) -> None:
    with pytest.raises(TypeError, match=r"send_many\(\): .*give a list"):
        signal.send_many(sender=None, items=items)


def test_send_many_writes_all_or_nothing(signal: AsyncSignal) -> None:
    inline = listen(signal, inline=True)
    listen(signal)
    with pytest.raises(PayloadError):
        signal.send_many(sender=None, items=[{"n": 1}, {"n": object()}])
    assert inline == []
    assert not Event.objects.exists()


def test_send_many_calls_inline_receivers_for_each(signal: AsyncSignal) -> None:
    inline = listen(signal, inline=True)
    assert signal.send_many(sender=None, items=[{"n": 1}, {"n": 2}]) == []
    assert [call["n"] for call in inline] == [1, 2]


def test_send_many_asks_when_for_each(signal: AsyncSignal) -> None:
    calls = listen(signal, when=lambda sender, n, **kwargs: n % 2 == 0)
    ids = signal.send_many(sender=None, items=[{"n": n} for n in range(6)])
    assert len(ids) == 3
    run_pending()
    assert [call["n"] for call in calls] == [0, 2, 4]


def test_send_many_takes_the_options_of_using(signal: AsyncSignal) -> None:
    headers = []

    def keep(sender: object, **kwargs: Any) -> None:
        headers.append(current_delivery().headers)

    signal.connect(keep, name="t.keep_headers")
    bound = signal.using(headers={"batch": 7})
    bound.send_many(sender=None, items=[{"n": 1}, {"n": 2}])
    run_pending()
    assert headers == [{"batch": 7}] * 2
