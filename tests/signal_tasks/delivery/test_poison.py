"""Deliveries that cannot be run harm only themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
from django.db import transaction

from signal_tasks import AsyncSignal
from signal_tasks.delivery.message import process_message
from signal_tasks.exceptions import DecodeError
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import atomic_or_not, connect, ids_of, run, send
from tests.testapp.models import Effect, Thing

pytestmark = pytest.mark.django_db


@atomic_or_not
@pytest.mark.parametrize("group_commit", [True, False])
def test_a_poisoned_delivery_harms_only_itself(
    group_commit: bool, atomic: bool, signal: AsyncSignal
) -> None:
    def note(sender: object, number: int, **kwargs: Any) -> None:
        Effect.objects.create(what=str(number))
        if number == 3:
            raise ValueError

    connect(signal, note, name="t.note", group_commit=group_commit, atomic=atomic)
    signal.send_many(sender=None, items=[{"number": n} for n in range(25)])
    event = Event.objects.order_by("pk")[7]
    Event.objects.filter(pk=event.pk).update(payload="{garbage")
    process_message("t.note", ids_of(signal, "t.note"), "default", seconds=math.inf)
    states = list(Delivery.objects.order_by("pk").values_list("state", "reason"))
    assert states[3] == ("pending", "")
    assert states[7] == ("dead", "undecodable")
    assert states.count(("succeeded", "")) == 23
    expected = {str(n) for n in range(25)} - ({"3", "7"} if atomic else {"7"})
    assert sorted(e.what for e in Effect.objects.all()) == sorted(expected)


def test_a_broken_transaction_in_a_batch_harms_only_its_own(
    signal: AsyncSignal,
) -> None:
    def note(sender: object, number: int, **kwargs: Any) -> None:
        Effect.objects.create(what=str(number))
        if number == 2:
            transaction.set_rollback(True)

    connect(signal, note, name="t.broken_note")
    signal.send_many(sender=None, items=[{"number": n} for n in range(5)])
    process_message(
        "t.broken_note", ids_of(signal, "t.broken_note"), "default", seconds=math.inf
    )
    assert sorted(e.what for e in Effect.objects.all()) == ["0", "1", "3", "4"]


def test_a_delivery_whose_event_was_deleted_harms_only_itself(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.event_gone")
    signal.send_many(sender=None, items=[{"n": n} for n in range(3)])
    middle = Event.objects.order_by("pk")[1]
    Event.objects.filter(pk=middle.pk)._raw_delete("default")
    process_message("t.event_gone", ids_of(signal, "t.event_gone"), "default")
    assert Attempt.objects.get().error == "its event was deleted"
    assert Delivery.objects.get(event_id=middle.pk).reason == "undecodable"
    assert Delivery.objects.filter(state="succeeded").count() == 2


@pytest.mark.parametrize(
    "payload",
    ["", "{", "null", '{"v":99,"sender":null,"kwargs":{}}', '{"v":1,"kwargs":7}'],
)
def test_a_payload_that_cannot_be_read_is_a_dead_letter(
    payload: str, signal: AsyncSignal
) -> None:
    calls = listen(signal)
    handle = send(signal)
    Event.objects.update(payload=payload)
    run(handle)
    assert (handle.state, handle.reason) == ("dead", "undecodable")
    assert Attempt.objects.get().error_type == "DecodeError"
    assert calls == []


DAMAGED = {
    "not JSON": "{",
    "no object": "[1]",
    "a number": "7",
    "5,000 digits": '{"a": ' + "9" * 5_000 + "}",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("what", DAMAGED)
def test_headers_that_cannot_be_read_make_a_dead_letter(
    what: str, signal: AsyncSignal
) -> None:
    calls = listen(signal)
    handle = send(signal)
    Event.objects.update(headers=DAMAGED[what])
    run(handle)
    assert (handle.state, handle.reason) == ("dead", "undecodable")
    assert "the headers are damaged" in Attempt.objects.get().error
    assert calls == []


@pytest.mark.parametrize("what", DAMAGED)
def test_asking_an_event_for_such_headers_is_one_clear_error(what: str) -> None:
    event = Event(signal="t.damaged", headers=DAMAGED[what])
    with pytest.raises(DecodeError, match="the headers are damaged"):
        event.header_mapping()


@pytest.mark.parametrize("deep", ["[" * 100_000, "9" * 5_000])
def test_a_payload_that_python_refuses_is_a_dead_letter(
    deep: str, signal: AsyncSignal
) -> None:
    calls = listen(signal)
    handle = send(signal)
    Event.objects.update(payload='{"v":1,"sender":null,"kwargs":{"a":' + deep + "}}")
    run(handle)
    assert (handle.state, handle.reason) == ("dead", "undecodable")
    assert calls == []


def test_by_default_a_missing_row_makes_a_dead_letter(signal: AsyncSignal) -> None:
    calls = listen(signal)
    thing = Thing.objects.create(name="gone")
    handle = send(signal, thing=thing)
    thing.delete()
    run(handle)
    assert (handle.state, handle.reason) == ("dead", "missing")
    assert "Thing" in Attempt.objects.get().error
    assert calls == []


def test_a_missing_row_may_be_skipped(signal: AsyncSignal) -> None:
    calls = listen(signal, on_missing="skip")
    thing = Thing.objects.create(name="gone")
    handle = send(signal, thing=thing)
    thing.delete()
    run(handle)
    assert (handle.state, handle.reason) == ("discarded", "missing")
    assert calls == []


def test_a_missing_row_may_arrive_as_none(signal: AsyncSignal) -> None:
    calls = listen(signal, on_missing="none")
    thing = Thing.objects.create(name="gone")
    handle = send(signal, thing=thing, other=1)
    thing.delete()
    assert run(handle).state == "succeeded"
    assert calls == [{"sender": None, "thing": None, "other": 1}]


def test_a_row_that_the_receiver_itself_does_not_find_is_an_ordinary_failure(
    signal: AsyncSignal,
) -> None:
    def seek(sender: object, **kwargs: Any) -> None:
        Thing.objects.get(name="nowhere")

    connect(signal, seek)
    assert run(send(signal)).state == "pending"
    assert Attempt.objects.get().error_type == "Thing.DoesNotExist"


def test_a_delivery_whose_receiver_is_gone_waits_and_runs_when_it_is_back(
    signal: AsyncSignal,
) -> None:
    calls: list[object] = []

    def hear(sender: object, **kwargs: Any) -> None:
        calls.append(sender)

    signal.connect(hear, name="t.comes_back")
    handle = send(signal)
    signal.disconnect(hear)
    assert run_pending() == []
    assert handle.refresh().state == "pending"
    signal.connect(hear, name="t.comes_back")
    assert run(handle).state == "succeeded"


def test_a_renamed_receiver_runs_what_is_pending_for_its_alias(
    signal: AsyncSignal,
) -> None:
    def old(sender: object, **kwargs: Any) -> None: ...

    signal.connect(old, name="t.old_name")
    handle = send(signal)
    signal.disconnect(old)
    calls = listen(signal, name="t.new_name", aliases=["t.old_name"])
    assert run(handle).state == "succeeded"
    assert len(calls) == 1
