"""Sending: responses, order, robustness, async, many at once, options."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from signal_tasks import (
    AsyncSignal,
    DeliveryHandle,
    PayloadError,
    current_delivery,
    deliveries_of,
)
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db

Send = Callable[..., list[tuple[Any, Any]]]


def ways(signal: AsyncSignal) -> dict[str, Send]:
    return {
        "send": signal.send,
        "send_robust": signal.send_robust,
        "asend": async_to_sync(signal.asend),
        "asend_robust": async_to_sync(signal.asend_robust),
    }


every_way = pytest.mark.parametrize(
    "way", ["send", "send_robust", "asend", "asend_robust"]
)
robust_ways = pytest.mark.parametrize("way", ["send_robust", "asend_robust"])


# -- responses --------------------------------------------------------------------


@every_way
def test_the_response_of_a_durable_receiver_is_a_handle(
    way: str, signal: AsyncSignal
) -> None:
    def durable(sender: object, **kwargs: Any) -> str:
        return "result"

    signal.connect(durable, name="t.durable")
    ((function, handle),) = ways(signal)[way](sender=None, number=1)
    assert function is durable
    assert isinstance(handle, DeliveryHandle)
    row = Delivery.objects.get()
    assert (handle.id, handle.event_id) == (row.pk, row.event_id)
    assert (handle.receiver, handle.state) == ("t.durable", "pending")
    assert handle.ended is False


@every_way
def test_the_response_of_an_inline_receiver_is_what_it_returned(
    way: str, signal: AsyncSignal
) -> None:
    listen(signal, inline=True)
    listen(signal)
    (_, inline), (_, durable) = ways(signal)[way](sender=None)
    assert inline == "heard"
    assert isinstance(durable, DeliveryHandle)


@every_way
def test_an_async_inline_receiver_responds_too(way: str, signal: AsyncSignal) -> None:
    async def answer(sender: object, **kwargs: Any) -> str:
        return "awaited"

    signal.connect(answer, inline=True)
    listen(signal)
    responses = [response for _, response in ways(signal)[way](sender=None)]
    assert responses[0] == "awaited"
    assert len(responses) == 2


@every_way
def test_without_receivers_nothing_is_written_or_asked(
    way: str, signal: AsyncSignal, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert ways(signal)[way](sender=None, what=object()) == []


def test_each_durable_receiver_has_a_delivery_of_the_one_event(
    signal: AsyncSignal,
) -> None:
    for _ in range(3):
        listen(signal)
    handles = [handle for _, handle in signal.send(sender=None)]
    assert len({handle.event_id for handle in handles}) == 1
    assert len({handle.id for handle in handles}) == 3
    assert Event.objects.count() == 1


def test_a_handle_is_refreshed_and_fit_for_logs(signal: AsyncSignal) -> None:
    listen(signal, name="t.in_logs")
    ((_, handle),) = signal.send(sender=None)
    assert str(handle) == f"t.in_logs[{handle.id}] pending"
    run_pending()
    assert handle.state == "pending"
    assert handle.refresh() is handle
    assert (handle.state, handle.attempts, handle.ended) == ("succeeded", 1, True)
    assert str(handle) == f"t.in_logs[{handle.id}] succeeded"


def test_the_deliveries_of_an_event_are_found_by_its_id(signal: AsyncSignal) -> None:
    listen(signal, name="t.b")
    listen(signal, name="t.a")
    handles = [handle for _, handle in signal.send(sender=None)]
    found = deliveries_of(str(handles[0].event_id))
    assert [handle.receiver for handle in found] == ["t.a", "t.b"]
    assert set(found) == set(handles)
    assert deliveries_of(uuid.uuid4()) == []


# -- what arrives -----------------------------------------------------------------


@every_way
def test_sender_and_keywords_arrive_as_they_left(
    way: str, signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    thing = Thing.objects.create(name="one")
    when = timezone.now()
    ways(signal)[way](sender=thing, thing=thing, when=when, tags={"a", "b"})
    run_pending()
    assert heard == [
        {"sender": thing, "thing": thing, "when": when, "tags": {"a", "b"}}
    ]


@pytest.mark.parametrize("sender", [None, "shop", Thing])
def test_a_sender_may_be_nothing_a_string_or_a_class(
    sender: object, signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    signal.send(sender=sender)
    run_pending()
    assert heard == [{"sender": sender}]


def test_a_receiver_is_handed_the_signal_itself(signal: AsyncSignal) -> None:
    got = []

    def keep(signal: object, sender: object, **kwargs: Any) -> None:
        got.append(signal)

    signal.connect(keep, name="t.keep")
    signal.send(None)
    run_pending()
    assert got == [signal]


NAMES_OF_OURS = (
    "using delay at database headers key receiver name options named items event "
    "delivery kwargs priority"
)


def test_keywords_may_have_the_names_of_options(
    signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    inline = listen(signal, inline=True)
    named = dict.fromkeys(NAMES_OF_OURS.split(), 1)
    signal.send(sender=None, **named)
    signal.using(delay=0).send(sender=None, **named)
    run_pending()
    assert heard == inline == [{"sender": None, **named}] * 2


@every_way
def test_a_keyword_called_signal_is_refused_as_django_cannot_pass_it(
    way: str, signal: AsyncSignal
) -> None:
    listen(signal)
    with pytest.raises(TypeError, match="signal"):
        ways(signal)[way](sender=None, signal=1)
    assert not Event.objects.exists()


# -- order and errors -------------------------------------------------------------


@pytest.mark.parametrize("way", ["send", "asend"])
def test_an_inline_receivers_exception_propagates_and_nothing_is_owed(
    way: str, signal: AsyncSignal
) -> None:
    def explode(sender: object, **kwargs: Any) -> None:
        raise ZeroDivisionError

    signal.connect(explode, inline=True)
    listen(signal)
    with pytest.raises(ZeroDivisionError):
        ways(signal)[way](sender=None)
    assert not Event.objects.exists()


@robust_ways
def test_robustly_it_becomes_its_response_and_the_event_is_owed(
    way: str, signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    def explode(sender: object, **kwargs: Any) -> None:
        raise ZeroDivisionError

    signal.connect(explode, inline=True)
    (_, error), (_, handle) = ways(signal)[way](sender=None)
    assert isinstance(error, ZeroDivisionError)
    assert handle.state == "pending"
    run_pending()
    assert len(heard) == 1


def clash(sender: str, **kwargs: Any) -> None:
    Thing.objects.create(name="written before the error")
    Thing.objects.create(pk=sender, name="with a key that is taken")


def clash_in_silence(sender: str, **kwargs: Any) -> str:
    try:
        clash(sender)
    except IntegrityError:
        return "hidden"
    return "no error"


def clash_in_other_words(sender: str, **kwargs: Any) -> None:
    try:
        clash(sender)
    except IntegrityError as error:
        raise ValueError("something else") from error


@robust_ways
@pytest.mark.parametrize("breaker", [clash, clash_in_silence, clash_in_other_words])
def test_robustly_no_inline_receiver_breaks_the_transaction_of_the_event(
    way: str,
    breaker: Callable[..., Any],
    signal: AsyncSignal,
    heard: list[dict[str, Any]],
) -> None:
    taken = Thing.objects.create(name="first")
    signal.connect(breaker, inline=True)
    with transaction.atomic():
        Thing.objects.create(name="the caller's")
        ways(signal)[way](sender=str(taken.pk))
        assert Thing.objects.filter(name="the caller's").exists()
    assert Thing.objects.filter(name="the caller's").exists()
    run_pending()
    assert len(heard) == 1


@robust_ways
def test_a_receiver_that_marks_the_transaction_for_rollback_harms_only_inline_ones(
    way: str, signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    def mark(sender: object, **kwargs: Any) -> None:
        Thing.objects.create(name="inline")
        transaction.set_rollback(True)

    signal.connect(mark, inline=True)
    with transaction.atomic():
        ways(signal)[way](sender=None)
    run_pending()
    assert len(heard) == 1
    assert not Thing.objects.exists()


@robust_ways
def test_robustly_what_healthy_inline_receivers_write_stays(
    way: str, signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    def write(sender: object, **kwargs: Any) -> None:
        Thing.objects.create(name="inline")

    def explode(sender: object, **kwargs: Any) -> None:
        raise ZeroDivisionError

    signal.connect(write, inline=True)
    signal.connect(explode, inline=True)
    with transaction.atomic():
        ways(signal)[way](sender=None)
    assert Thing.objects.get().name == "inline"


@every_way
def test_what_cannot_travel_is_refused_before_anything_is_called_or_written(
    way: str, signal: AsyncSignal
) -> None:
    inline = listen(signal, inline=True)
    listen(signal)
    with pytest.raises(PayloadError, match=rf"{signal.name}: lines\[1\]\['photo'\]: "):
        ways(signal)[way](sender=None, lines=[1, {"photo": object()}])
    assert inline == []
    assert not Event.objects.exists()


def test_inline_receivers_alone_may_be_sent_anything(signal: AsyncSignal) -> None:
    inline, value = listen(signal, inline=True), object()
    signal.send(sender=None, value=value)
    assert inline == [{"sender": None, "value": value}]


@every_way
def test_an_inline_receiver_cannot_change_what_durable_ones_get(
    way: str, signal: AsyncSignal, heard: list[dict[str, Any]]
) -> None:
    def spoil(sender: object, items: list[int], **kwargs: Any) -> None:
        items.clear()

    signal.connect(spoil, inline=True)
    ways(signal)[way](sender=None, items=[1, 2])
    run_pending()
    assert heard == [{"sender": None, "items": [1, 2]}]


# -- when -------------------------------------------------------------------------


def test_when_decides_in_the_sender_whether_there_is_a_delivery(
    signal: AsyncSignal,
) -> None:
    asked = []

    def big(sender: object, total: int, **kwargs: Any) -> bool:
        asked.append((sender, total, kwargs))
        return total > 100

    calls = listen(signal, when=big)
    assert signal.send(sender="shop", total=5, more=1) == []
    assert not Event.objects.exists()
    assert len(signal.send(sender="shop", total=500)) == 1
    assert asked == [("shop", 5, {"more": 1}), ("shop", 500, {})]
    run_pending()
    assert calls == [{"sender": "shop", "total": 500}]


def test_when_holds_for_its_receiver_only(signal: AsyncSignal) -> None:
    listen(signal, name="t.never", when=lambda sender, **kwargs: False)
    listen(signal, name="t.always")
    ((_, handle),) = signal.send(sender=None)
    assert handle.receiver == "t.always"


def test_an_error_in_when_reaches_the_sender_and_nothing_is_written(
    signal: AsyncSignal,
) -> None:
    listen(signal, when=lambda sender, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        signal.send(sender=None)
    assert not Event.objects.exists()


def test_when_is_not_asked_in_the_worker(signal: AsyncSignal) -> None:
    asked = []

    def ask(sender: object, **kwargs: Any) -> bool:
        asked.append(sender)
        return True

    listen(signal, when=ask)
    signal.send(sender="once")
    run_pending()
    assert asked == ["once"]


# -- many at once -----------------------------------------------------------------


def statements(signal: AsyncSignal, events: int) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        signal.send_many(sender=None, items=({"n": n} for n in range(events)))
    return len(queries)


def test_many_events_take_a_constant_number_of_statements_per_thousand(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    listen(signal)
    thousand = statements(signal, 1000)
    assert thousand <= 50
    assert statements(signal, 3000) <= 3 * thousand
    assert Delivery.objects.count() == 8000


@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs more of them")
def test_many_events_are_one_statement_of_postgresql_per_thousand(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    listen(signal)
    assert statements(signal, 1000) == 1
    assert statements(signal, 3000) == 3


def test_many_events_say_what_they_were_told_whatever_it_is(
    signal: AsyncSignal,
) -> None:
    calls = listen(signal, name='t.odd "name", \\ {NULL}')
    texts = ['"', "\\", '\\"', "{}", "NULL", "", ",", "\0", "\ud800", "'", "%s", "ä\n"]
    signal.send_many(sender="\\\"'", items=[{"text": text} for text in texts])
    run_pending()
    assert [call["text"] for call in calls] == texts


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


# -- using ------------------------------------------------------------------------


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
    assert row.relay_at == row.available_at


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


@pytest.mark.parametrize("headers", [{"a": object()}, {"a": float("nan")}, "text", 5])
def test_headers_that_json_cannot_hold_are_refused(
    headers: Any, signal: AsyncSignal
) -> None:
    with pytest.raises(TypeError, match="headers"):
        signal.using(headers=headers)


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


# -- cause ------------------------------------------------------------------------


def test_an_event_sent_in_a_receiver_carries_its_event_as_its_cause(
    signal: AsyncSignal,
) -> None:
    second = AsyncSignal(name="t.second")
    listen(second)
    seen = []

    def send_on(sender: object, **kwargs: Any) -> None:
        second.send(sender=None)
        seen.append(current_delivery().event_id)

    signal.connect(send_on, name="t.send_on")
    ((_, handle),) = signal.send(sender=None)
    ran = run_pending()
    assert len(ran) == 2
    assert seen == [handle.event_id]
    assert Event.objects.get(signal=signal.name).cause_id is None
    assert Event.objects.get(signal="t.second").cause_id == handle.event_id


def test_database_errors_of_the_outbox_itself_are_not_hidden(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(DatabaseError):
            signal.send_robust(sender=None)
