"""Inline receivers and their errors do not harm the event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from signal_tasks import AsyncSignal, PayloadError
from signal_tasks.models import Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.dispatch.ways import every_way, robust_ways, ways
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("way", ["send", "asend"])
def test_an_inline_receivers_exception_propagates_and_nothing_is_sent(
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
def test_robustly_it_becomes_its_response_and_the_event_is_sent(
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


def test_database_errors_of_the_outbox_itself_are_not_hidden(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(DatabaseError):
            signal.send_robust(sender=None)
