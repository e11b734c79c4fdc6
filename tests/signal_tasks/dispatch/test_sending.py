"""Sending: the responses, what arrives, and the cause of an event."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.utils import timezone

from signal_tasks import AsyncSignal, DeliveryHandle, current_delivery, deliveries_of
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.dispatch.ways import every_way, ways
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db


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
    assert handle.finished is False


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
    assert (handle.state, handle.attempts, handle.finished) == ("succeeded", 1, True)
    assert str(handle) == f"t.in_logs[{handle.id}] succeeded"


def test_the_deliveries_of_an_event_are_found_by_its_id(signal: AsyncSignal) -> None:
    listen(signal, name="t.b")
    listen(signal, name="t.a")
    handles = [handle for _, handle in signal.send(sender=None)]
    found = deliveries_of(str(handles[0].event_id))
    assert [handle.receiver for handle in found] == ["t.a", "t.b"]
    assert set(found) == set(handles)
    assert deliveries_of(uuid.uuid4()) == []
    wrong: Any
    for wrong in ("5", 5, handles[0]):
        with pytest.raises(ValueError, match="give a UUID"):
            deliveries_of(wrong)


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
