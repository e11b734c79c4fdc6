"""Relays settle what no worker has looked at, and look seldom at what waits long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from signal_tasks import AsyncSignal
from signal_tasks.doctor.deliveries import unsettled
from signal_tasks.models import Delivery, Event, UnsettledEvent
from signal_tasks.relay.recovery import recover
from signal_tasks.relay.relay import Relay
from signal_tasks.relay.settling import sweep
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.settling.steps import (
    hear_settled,
    let_pass,
    look_as_a_relay,
    run,
    settlings,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)


def finished_unseen(signal: AsyncSignal) -> None:
    """Send an event whose worker dies between the commit and its look."""
    listen(signal, name="t.only")
    signal.send(sender=None)
    finish(Delivery.objects.all(), "succeeded")


def test_a_pass_of_a_relay_settles_what_a_worker_has_left(signal: AsyncSignal) -> None:
    hear_settled(signal)
    finished_unseen(signal)
    relay = Relay("relay@test")
    try:
        relay.run_once()
        assert settlings(signal) == 0  # a worker may be about to look
        let_pass(11)
        relay.run_once()
    finally:
        relay.close()
    assert settlings(signal) == 1
    assert not waiting()


def test_a_delivery_that_is_lost_with_its_last_worker_settles_at_once(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    signal.send(sender=None)
    lost = {"state": "running", "isolated": True, "attempts": 99, "lease": 1}
    Delivery.objects.update(
        **lost, next_check_at=F("next_check_at") - timedelta(days=1)
    )
    recover("default")
    assert Delivery.objects.filter(state="dead").count() == 1
    assert settlings(signal) == 1


def test_what_waits_is_looked_at_ever_more_seldom(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    signal.send(sender=None)
    waits = []
    for _ in range(8):
        let_pass(1000)
        look_as_a_relay()
        wait = UnsettledEvent.objects.get().check_at - timezone.now()
        waits.append(wait.total_seconds())
    expected = [20, 40, 80, 160, 320, 600, 600, 600]
    assert waits == [pytest.approx(each, abs=8) for each in expected]
    run("t.only")
    assert settlings(signal) == 1


def test_a_relay_leaves_what_its_code_does_not_hear_of(signal: AsyncSignal) -> None:
    def heard(sender: object, **kwargs: Any) -> None:
        """Hear of it in another process only."""

    signal.settled.connect(heard, name="t.elsewhere", weak=False)
    finished_unseen(signal)
    signal.settled.disconnect(heard)
    let_pass(11)
    assert look_as_a_relay() == 0
    assert UnsettledEvent.objects.get().checks == 0
    hear_settled(signal)
    assert look_as_a_relay() == 1


def test_doctor_tells_of_what_no_relay_settles(signal: AsyncSignal) -> None:
    def heard(sender: object, **kwargs: Any) -> None:
        """Hear of it in another process only."""

    signal.settled.connect(heard, name="t.elsewhere", weak=False)
    finished_unseen(signal)
    signal.settled.disconnect(heard)
    assert not list(unsettled("default"))
    let_pass(100)
    (found,) = unsettled("default")
    assert found.text.endswith("settled was not sent: 1")


def test_doctor_does_not_tell_of_what_has_not_finished(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    signal.send(sender=None)
    let_pass(100)
    assert not list(unsettled("default"))


def test_what_an_event_has_left_behind_is_forgotten(signal: AsyncSignal) -> None:
    hear_settled(signal)
    finished_unseen(signal)
    Delivery.objects.all().delete()
    Event.objects.all().delete()
    let_pass(11)
    look_as_a_relay()
    assert not waiting()
    assert settlings(signal) == 0


def test_one_relay_takes_what_the_other_has_not(signal: AsyncSignal) -> None:
    hear_settled(signal)
    finished_unseen(signal)
    let_pass(11)
    assert look_as_a_relay() == 1
    assert look_as_a_relay() == 0
    assert settlings(signal) == 1


def test_a_pass_ends_when_its_time_is_over_and_the_next_goes_on(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    signal.send_many(sender=None, items=[{"n": n} for n in range(150)])
    finish(Delivery.objects.all(), "succeeded")
    let_pass(11)
    assert sweep("default", seconds=0) == 100
    assert sweep("default", seconds=0) == 50
    assert settlings(signal) == 150


def test_no_signal_waits_until_another_one_has_nothing_left(
    signal: AsyncSignal,
) -> None:
    other = AsyncSignal(name="tests.other_that_settles")
    for each, name in ((signal, "t.one"), (other, "t.other")):
        listen(each, name=name)
        hear_settled(each)
        each.send_many(sender=None, items=[{"n": n} for n in range(150)])
    finish(Delivery.objects.all(), "succeeded")
    let_pass(11)
    for _ in range(20):
        sweep("default", seconds=0)
        if settlings(signal) and settlings(other):
            break
    assert settlings(signal)
    assert settlings(other)
