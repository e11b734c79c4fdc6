"""Effects of a receiver: kept or undone together with its delivery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from signal_tasks import AsyncSignal, current_delivery
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import (
    AT_ONCE,
    atomic_or_not,
    connect,
    raises,
    row,
    run,
    send,
)
from tests.testapp.models import Effect, Thing

pytestmark = pytest.mark.django_db


@atomic_or_not
def test_a_receiver_that_returns_has_succeeded(
    atomic: bool, signal: AsyncSignal
) -> None:
    calls = listen(signal, atomic=atomic)
    handle = run(send(signal, number=1))
    assert (handle.state, handle.attempts, handle.reason) == ("succeeded", 1, "")
    assert row(handle).finished_at is not None
    assert len(calls) == 1
    assert run_pending() == []


def test_what_a_failed_atomic_receiver_wrote_is_undone(signal: AsyncSignal) -> None:
    connect(signal, raises(ValueError("on purpose")))
    handle = run(send(signal))
    assert handle.state == "pending"
    assert not Effect.objects.exists()


def test_what_a_failed_receiver_outside_of_transactions_did_stays(
    signal: AsyncSignal,
) -> None:
    connect(signal, raises(ValueError("on purpose")), atomic=False)
    run(send(signal))
    assert Effect.objects.count() == 1


def test_events_of_a_failed_atomic_receiver_are_undone_too(
    signal: AsyncSignal,
) -> None:
    second = AsyncSignal(name="t.undone")
    listen(second)

    def send_and_fail(sender: object, **kwargs: Any) -> None:
        second.send(sender=None)
        raise ValueError

    connect(signal, send_and_fail)
    run(send(signal))
    assert not Event.objects.filter(signal="t.undone").exists()


@pytest.mark.django_db(transaction=True)
@atomic_or_not
def test_only_an_atomic_receiver_runs_in_a_transaction(
    atomic: bool, signal: AsyncSignal
) -> None:
    seen = []

    def look(sender: object, **kwargs: Any) -> None:
        seen.append(connection.in_atomic_block)

    connect(signal, look, atomic=atomic)
    signal.send(sender=None)
    run_pending()
    assert seen == [atomic]


@atomic_or_not
def test_while_it_runs_its_attempt_has_been_counted(
    atomic: bool, signal: AsyncSignal
) -> None:
    seen = []

    def look(sender: object, **kwargs: Any) -> None:
        delivery = Delivery.objects.get()
        seen.append((delivery.state, delivery.attempts, delivery.lease > 0))

    connect(signal, look, atomic=atomic)
    signal.send(sender=None)
    run_pending()
    assert seen == [("running", 1, True)]


# -- broken transactions ----------------------------------------------------------


def swallow(sender: object, taken: int, **kwargs: Any) -> None:
    Effect.objects.create(what="before")
    with suppress(IntegrityError), transaction.atomic(savepoint=False):
        Thing.objects.create(pk=taken, name="clash")


def mark(sender: object, **kwargs: Any) -> None:
    Effect.objects.create(what="before")
    transaction.set_rollback(True)


@pytest.mark.parametrize("function", [swallow, mark])
def test_a_receiver_that_leaves_its_transaction_broken_has_failed(
    function: Callable[..., Any], signal: AsyncSignal
) -> None:
    taken = Thing.objects.create(name="first")
    connect(signal, function)
    handle = run(send(signal, taken=taken.pk))
    assert (handle.state, handle.attempts) == ("pending", 1)
    assert not Effect.objects.exists()
    assert "atomic() block of its own" in Attempt.objects.get().error


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite goes on after it")
def test_a_receiver_that_hides_an_error_from_django_but_not_from_the_database_has_failed(
    signal: AsyncSignal,
) -> None:
    taken = Thing.objects.create(name="first")

    def hide(sender: object, **kwargs: Any) -> None:
        Effect.objects.create(what="before")
        with suppress(IntegrityError):
            Thing.objects.create(pk=taken.pk, name="clash")

    connect(signal, hide)
    assert run(send(signal)).state == "pending"
    assert not Effect.objects.exists()


def test_an_error_in_a_block_of_its_own_harms_nothing(signal: AsyncSignal) -> None:
    taken = Thing.objects.create(name="first")

    def careful(sender: object, **kwargs: Any) -> None:
        try:
            with transaction.atomic():
                Thing.objects.create(pk=taken.pk, name="clash")
        except IntegrityError:
            Effect.objects.create(what="after")

    connect(signal, careful)
    assert run(send(signal)).state == "succeeded"
    assert Effect.objects.count() == 1


def test_a_database_error_of_a_receiver_is_its_failure(signal: AsyncSignal) -> None:
    taken = Thing.objects.create(name="first")

    def clash(sender: object, **kwargs: Any) -> None:
        Thing.objects.create(pk=taken.pk, name="clash")

    connect(signal, clash, retry=AT_ONCE)
    handle = send(signal)
    for _ in range(3):
        run_pending()
    assert (handle.refresh().state, handle.reason) == ("dead", "exhausted")
    assert {a.error_type for a in Attempt.objects.all()} == {"IntegrityError"}


# -- async receivers --------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@atomic_or_not
def test_an_async_receiver_is_awaited(atomic: bool, signal: AsyncSignal) -> None:
    async def note(sender: object, number: int, **kwargs: Any) -> None:
        key = current_delivery().idempotency_key
        await Effect.objects.acreate(what=str(number), key=key)

    connect(signal, note, atomic=atomic)
    handle = run(send(signal, number=3))
    assert handle.state == "succeeded"
    effect = Effect.objects.get()
    assert (effect.what, effect.key) == ("3", str(handle.id))


@pytest.mark.django_db(transaction=True)
def test_what_a_failed_async_receiver_wrote_is_undone(signal: AsyncSignal) -> None:
    async def fail(sender: object, **kwargs: Any) -> None:
        await Effect.objects.acreate(what="undone")
        raise ValueError("in async code")

    connect(signal, fail)
    assert run(send(signal)).state == "pending"
    assert not Effect.objects.exists()
    assert Attempt.objects.get().error == "in async code"


class AsyncCallable:
    async def __call__(self, sender: object, **kwargs: Any) -> None:
        await Effect.objects.acreate(what="from an object")


@pytest.mark.django_db(transaction=True)
def test_a_callable_object_may_be_async(signal: AsyncSignal) -> None:
    signal.connect(AsyncCallable(), weak=False, name="t.async_callable")
    assert run(send(signal)).state == "succeeded"
    assert Effect.objects.get().what == "from an object"
