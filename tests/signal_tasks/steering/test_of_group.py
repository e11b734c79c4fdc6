"""Dead letters are found by the fingerprint of their last attempt."""

from __future__ import annotations

import pytest

from signal_tasks import AsyncSignal
from signal_tasks.models import Attempt, Delivery
from signal_tasks.states import State
from tests.signal_tasks.delivery.steps import connect, raises, row, send

pytestmark = pytest.mark.django_db


def die(signal: AsyncSignal, *fingerprints: str) -> Delivery:
    """Send an event whose attempts have these fingerprints, the last one of them dead."""
    delivery = row(send(signal))
    for number, fingerprint in enumerate(fingerprints, 1):
        last = number == len(fingerprints)
        Attempt.objects.create(
            delivery=delivery,
            run=delivery.run,
            number=number,
            consequence="dead" if last else "retried",
            error_type="ValueError",
            fingerprint=fingerprint,
        )
    kill(delivery)
    return delivery


def kill(delivery: Delivery) -> None:
    Delivery.objects.claim([delivery.pk], names=[delivery.receiver], lease=60)
    lease = Delivery.objects.get(pk=delivery.pk).lease
    assert Delivery.objects.all().finish([delivery.pk], lease, State.DEAD, "exhausted")


@pytest.fixture(autouse=True)
def _failing(signal: AsyncSignal) -> None:
    connect(signal, raises(ValueError("no")))


def test_dead_letters_belong_to_the_group_of_their_last_attempt(
    signal: AsyncSignal,
) -> None:
    first = die(signal, "a" * 16)
    second = die(signal, "a" * 16, "b" * 16)
    rows = Delivery.objects.all()
    assert list(rows.of_group("a" * 16)) == [first]
    assert list(rows.of_group("b" * 16)) == [second]
    assert list(rows.of_group("c" * 16)) == []


def test_what_is_not_dead_any_more_belongs_to_no_group(signal: AsyncSignal) -> None:
    die(signal, "a" * 16)
    Delivery.objects.all().replay()
    assert not Delivery.objects.all().of_group("a" * 16).exists()


def test_attempts_before_a_replay_do_not_count(signal: AsyncSignal) -> None:
    delivery = die(signal, "a" * 16)
    Delivery.objects.all().replay()
    kill(delivery)
    assert not Delivery.objects.all().of_group("a" * 16).exists()


def test_a_group_can_be_replayed(signal: AsyncSignal) -> None:
    delivery, other = die(signal, "a" * 16), die(signal, "b" * 16)
    assert Delivery.objects.all().of_group("a" * 16).replay() == 1
    states = dict(Delivery.objects.values_list("pk", "state"))
    assert states == {delivery.pk: "pending", other.pk: "dead"}
