"""``using()``: the options of one send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed_zone
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from signal_tasks import AsyncSignal, current_delivery
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.dispatch.ways import Send, every_way, ways

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("delay", [3600, 3600.5, timedelta(hours=1)])
def test_a_delayed_delivery_is_not_due_yet(
    delay: Any, signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    before = timezone.now()
    ((_, handle),) = signal.using(delay=delay).send(sender=None)
    run_pending()
    assert heard == []
    row = Delivery.objects.get(pk=handle.id)
    assert timedelta(minutes=59) < row.available_at - before < timedelta(minutes=61)
    assert row.next_check_at == row.available_at


def test_a_time_may_be_given_for_it(
    signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    later = timezone.now() + timedelta(days=3)
    ((_, handle),) = signal.using(at=later).send(sender=None)
    row = Delivery.objects.get(pk=handle.id)
    assert abs(row.available_at - later) < timedelta(milliseconds=1)
    signal.using(at=datetime(2001, 1, 1, tzinfo=UTC)).send(sender="past")
    run_pending()
    assert heard == [{"sender": "past"}]


WRONG_TIMES: dict[str, dict[str, Any]] = {
    "both": {"delay": 1, "at": datetime(2040, 1, 1, tzinfo=UTC)},
    "a negative delay": {"delay": -1},
    "a negative timedelta": {"delay": timedelta(days=-1)},
    "no number": {"delay": float("nan")},
    "for ever": {"delay": float("inf")},
    "a thousand years": {"delay": 1e12},
    "a naive time": {"at": datetime(2040, 1, 1)},  # noqa: DTZ001
}


@pytest.mark.parametrize("what", WRONG_TIMES)
def test_a_time_that_makes_no_sense_is_refused_at_once(
    what: str, signal: AsyncSignal
) -> None:
    with pytest.raises(ValueError, match="using"):
        signal.using(**WRONG_TIMES[what])


def test_headers_reach_the_receiver(signal: AsyncSignal) -> None:
    got = []

    def keep(sender: object, **kwargs: Any) -> None:
        got.append(current_delivery().headers)

    signal.connect(keep, name="t.keeps_headers")
    signal.using(headers={"trace": "abc", "depth": [1, None]}).send(sender=None)
    signal.send(sender=None)
    run_pending()
    assert got == [{"trace": "abc", "depth": [1, None]}, {}]


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "headers",
    [
        {"a": object()},
        {"a": float("nan")},
        "text",
        5,
        {"deep": nested(5_000)},
        {"a number of 5,000 digits": 10**5_000},
    ],
    ids=["an object", "nan", "text", "a number", "deep", "many digits"],
)
def test_headers_that_json_cannot_hold_are_refused(
    headers: Any, signal: AsyncSignal
) -> None:
    with pytest.raises(TypeError, match="headers"):
        signal.using(headers=headers)


@pytest.mark.parametrize(
    "at",
    [
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=fixed_zone(timedelta(hours=-5))),
        datetime.min.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=fixed_zone(timedelta(hours=5))),
        datetime(1900, 1, 1, tzinfo=UTC),
    ],
)
def test_a_moment_that_not_everybody_can_read_is_refused(
    at: datetime, signal: AsyncSignal
) -> None:
    with pytest.raises(ValueError, match="within a hundred years"):
        signal.using(at=at)


def test_a_database_without_an_outbox_is_refused(signal: AsyncSignal) -> None:
    listen(signal)
    with pytest.raises(ImproperlyConfigured, match="holds no outbox"):
        signal.using(database="replica").send(sender=None)
    with pytest.raises(ImproperlyConfigured, match="nowhere"):
        signal.using(database="nowhere").send(sender=None)


@every_way
def test_a_bound_signal_has_every_send_method(
    way: str, signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    bound = signal.using(delay=3600)
    inline = listen(signal, inline=True)
    send: dict[str, Send] = ways(bound)  # type: ignore[arg-type]
    (_, response), (_, handle) = send[way](sender=None)
    assert response == "heard"
    assert len(inline) == 1
    assert run_pending() == []
    assert handle.refresh().state == "pending"


def test_using_changes_nothing_for_the_next_send(
    signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    signal.using(delay=3600, headers={"a": 1})
    signal.send(sender=None)
    run_pending()
    assert len(heard) == 1
