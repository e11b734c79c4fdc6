"""Settled of events that a process cannot read as a whole, or whose rows are gone."""

from __future__ import annotations

import uuid
from typing import Any, Literal

import pytest

from signal_tasks import AsyncSignal, Coalesce
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.settling.steps import (
    hear_settled,
    let_pass,
    look_as_a_relay,
    settlings,
    told,
    waiting,
)
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)


def send_unreadable(signal: AsyncSignal, sender: object = Thing, **named: Any) -> None:
    """Send an event with a keyword of a class that is gone since."""
    signal.send(sender=sender, odd=12345, **named)
    payload = Event.objects.get().payload
    assert '"odd":12345' in payload
    Event.objects.update(
        payload=payload.replace('"odd":12345', '"odd":{"$model":"no.such"}')
    )


def send_gone(signal: AsyncSignal) -> None:
    """Send an event about a row that is gone since."""
    thing = Thing.objects.create(name="a thing")
    signal.send(sender=None, thing=thing)
    thing.delete()


def reasons() -> dict[str, str]:
    """Return how deliveries of receivers of ``settled`` have ended."""
    rows = Delivery.objects.exclude(receiver="t.only")
    return {row.receiver: row.reason or row.state for row in rows.order_by("receiver")}


def test_a_keyword_that_cannot_be_read_keeps_no_receiver_of_the_sender_from_it(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.of_things", sender=Thing)
    hear_settled(signal, name="t.of_events", sender=Event)
    send_unreadable(signal)
    run_pending()
    assert reasons() == {"t.of_things": "undecodable"}
    assert not waiting()


def test_a_sender_that_cannot_be_read_is_heard_by_those_of_any_sender(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.of_things", sender=Thing)
    hear_settled(signal, name="t.of_any")
    signal.send(sender=Thing)
    Event.objects.update(payload='{"v":1,"sender":{"$model":"no.such"},"kwargs":{}}')
    run_pending()
    assert reasons() == {"t.of_any": "undecodable"}


def test_who_cannot_be_asked_gets_a_delivery_that_tells_why(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.asked", when=lambda sender, n, **_: n == 1)
    send_unreadable(signal, n=1)
    run_pending()
    assert reasons() == {"t.asked": "undecodable"}


def test_of_a_row_that_is_gone_each_receiver_is_asked_as_it_reads_it(
    signal: AsyncSignal,
) -> None:
    """Or gets its delivery unasked, which is dead, or has nothing to do."""

    def is_there(sender: object, thing: Thing | None, **kwargs: Any) -> bool:
        return thing is not None

    def is_gone(sender: object, thing: Thing | None, **kwargs: Any) -> bool:
        return thing is None

    listen(signal, name="t.only", on_missing="none")
    hear_settled(signal, name="t.rejects", when=is_there)
    hear_settled(signal, name="t.skips", on_missing="skip", when=is_there)
    hear_settled(signal, name="t.none", on_missing="none", when=is_gone)
    hear_settled(signal, name="t.none_there", on_missing="none", when=is_there)
    send_gone(signal)
    run_pending()
    assert reasons() == {"t.none": "succeeded", "t.rejects": "missing"}
    assert not waiting()


def test_a_when_that_needs_a_row_that_is_gone_keeps_settled_from_no_other(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only", on_missing="none")
    hear_settled(
        signal, name="t.picky", on_missing="skip", when=lambda s, thing, **_: thing.name
    )
    others = hear_settled(signal, name="t.other", on_missing="none")
    failures = told()
    send_gone(signal)
    run_pending()
    assert len(others) == 1
    assert not failures
    assert not waiting()


@pytest.mark.parametrize("on_missing", ["reject", "none"])
def test_a_coalescing_receiver_that_cannot_be_read_is_merged_with_no_other(
    signal: AsyncSignal, on_missing: Literal["reject", "none"]
) -> None:
    keyed = Coalesce(key=lambda sender, odd, **_: odd, within=60)
    listen(signal, name="t.only")
    hear_settled(signal, name="t.merged", coalesce=keyed, on_missing=on_missing)
    send_unreadable(signal)
    run_pending()
    assert settlings(signal) == 1
    assert Delivery.objects.get(receiver="t.merged").merged == 0


def test_an_ordered_receiver_that_cannot_be_read_goes_by_the_subject() -> None:
    name = f"tests.ordered_{uuid.uuid4().hex}"
    signal = AsyncSignal(name=name, key=lambda sender, odd, **_: odd)
    listen(signal, name="t.only")
    hear_settled(signal, name="t.ordered", ordered=True)
    send_unreadable(signal)
    run_pending()
    assert reasons() == {"t.ordered": "undecodable"}


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        '{"v":1,"sender":nu',
        '{"v":1,"sender":null,"kwargs":[1]}',
        '{"v":1,"k":2}',
    ],
)
def test_a_text_that_is_damaged_gives_receivers_deliveries_that_tell_it(
    signal: AsyncSignal, text: str
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.settled")
    hear_settled(signal, name="t.asked", when=lambda sender, **_: False)
    signal.send(sender=None)
    Event.objects.update(payload=text)
    failures = told()
    run_pending()
    assert reasons() == {"t.asked": "undecodable", "t.settled": "undecodable"}
    assert not failures
    assert not waiting()


def test_a_payload_of_a_newer_version_waits_for_newer_code(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.settled")
    signal.send(sender=None)
    payload = Event.objects.get().payload
    Event.objects.update(payload=payload.replace('{"v":1,', '{"v":2,'))
    finish(Delivery.objects.all(), "succeeded")
    let_pass(11)
    failures = told()
    look_as_a_relay()
    assert settlings(signal) == 0
    assert [each.given_up for each in failures] == [False]
    Event.objects.update(payload=payload)
    let_pass(1000)
    assert look_as_a_relay() == 1
