"""What a receiver leaves to ``transaction.on_commit`` is a part of it: Note [Surroundings]."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from django.db import transaction
from django.db.models.signals import post_save

from signal_tasks import AsyncSignal, BatchItem, SignalLoop, async_receiver, signals
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import connect, ids_of
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)

colour: ContextVar[str | None] = ContextVar("colour", default=None)
restored: list[str] = []


class Colour:
    """Carries a colour, and notes each time that it is restored."""

    name = "colour"

    def capture(self) -> str | None:
        return colour.get()

    @contextmanager
    def restore(self, value: str) -> Iterator[None]:
        restored.append(value)
        token = colour.set(value)
        try:
            yield
        finally:
            colour.reset(token)


@pytest.fixture
def _carried(settings: Any) -> None:
    restored.clear()
    hooks = [f"{__name__}.Colour"]
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": hooks}


@pytest.fixture
def then() -> AsyncSignal:
    """Return the signal that hooks send."""
    return AsyncSignal(name=f"tests.then_{uuid.uuid4().hex}")


def deliver(signal: AsyncSignal) -> None:
    """Process what is pending as one message."""
    ids = ids_of(signal, signal.name)
    process_message(signal.name, ids, "default", seconds=math.inf)


def send_coloured(signal: AsyncSignal, *colours: str) -> None:
    for each in colours:
        token = colour.set(each)
        signal.send(sender=None, n=each)
        colour.reset(token)


ways = pytest.mark.parametrize(
    "options", [{}, {"group_commit": False}, {"timeout": 30}]
)


@ways
def test_what_a_hook_sends_is_caused_by_the_delivery_that_has_left_it(
    options: Any, signal: AsyncSignal, then: AsyncSignal
) -> None:
    def receive(sender: object, n: int, **kwargs: Any) -> None:
        transaction.on_commit(lambda: then.using(subject=str(n)).send(sender=None))

    connect(signal, receive, name=signal.name, **options)
    listen(then)
    ids = signal.send_many(sender=None, items=[{"n": n} for n in range(3)])
    deliver(signal)
    found = Event.objects.filter(signal=then.name).order_by("subject")
    assert list(found.values_list("cause_id", flat=True)) == ids
    assert list(found.values_list("correlation", flat=True)) == [str(pk) for pk in ids]


@pytest.mark.usefixtures("_carried")
@ways
def test_a_hook_runs_in_the_context_of_its_sender(
    options: Any, signal: AsyncSignal
) -> None:
    seen: list[tuple[str, str | None]] = []

    def receive(sender: object, n: str, **kwargs: Any) -> None:
        transaction.on_commit(lambda: seen.append((n, colour.get())))

    connect(signal, receive, name=signal.name, **options)
    send_coloured(signal, "red", "blue")
    deliver(signal)
    assert seen == [("red", "red"), ("blue", "blue")]
    assert colour.get() is None


@pytest.mark.django_db(transaction=False)
@pytest.mark.usefixtures("_carried")
def test_so_does_one_of_a_receiver_that_fails_in_the_transaction_of_a_test(
    signal: AsyncSignal, django_capture_on_commit_callbacks: Any
) -> None:
    """Which keeps what the receiver, that is not atomic, has committed before."""
    seen: list[str | None] = []

    def receive(sender: object, **kwargs: Any) -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: seen.append(colour.get()))
        raise ValueError

    connect(signal, receive, name=signal.name, atomic=False)
    send_coloured(signal, "red")
    with django_capture_on_commit_callbacks(execute=True):
        deliver(signal)
    assert seen == ["red"]


@pytest.mark.usefixtures("_carried")
def test_a_hook_of_a_batch_runs_in_the_context_of_its_senders(
    signal: AsyncSignal, then: AsyncSignal
) -> None:
    seen: list[str | None] = []

    def receive(batch: Sequence[BatchItem], **kwargs: Any) -> Sequence[BatchItem]:
        def hook() -> None:
            seen.append(colour.get())
            then.send(sender=None)

        transaction.on_commit(hook)
        return batch

    connect(signal, receive, name=signal.name, batch=10)
    listen(then)
    send_coloured(signal, "red", "red", "blue")
    deliver(signal)
    assert sorted(map(str, seen)) == ["blue", "red"]
    causes = Event.objects.filter(signal=then.name).values_list("cause_id", flat=True)
    assert set(causes) <= set(
        Event.objects.filter(signal=signal.name).values_list("pk", flat=True)
    )


@pytest.mark.usefixtures("_carried")
def test_a_hook_of_an_inline_receiver_of_settled_does_too(
    signal: AsyncSignal, then: AsyncSignal
) -> None:
    seen: list[str | None] = []

    def hook() -> None:
        seen.append(colour.get())
        then.send(sender=None)

    def receive(sender: object, **kwargs: Any) -> None:
        transaction.on_commit(hook)

    listen(signal, name=signal.name)
    signal.settled.connect(receive, inline=True)
    listen(then)
    send_coloured(signal, "red")
    deliver(signal)
    assert seen == ["red"]
    sent = Event.objects.get(signal=then.name)
    assert sent.cause_id == Event.objects.get(signal=signal.name).pk


@pytest.mark.usefixtures("_carried")
def test_what_the_outbox_leaves_itself_restores_nothing(
    signal: AsyncSignal, then: AsyncSignal
) -> None:
    def receive(sender: object, **kwargs: Any) -> None:
        then.send(sender=None)  # published by a hook of ours

    connect(signal, receive, name=signal.name)
    listen(then)
    send_coloured(signal, "red")
    deliver(signal)
    assert restored == ["red"]


def test_a_receiver_that_saves_its_own_instance_in_a_hook_is_caught(
    signal: AsyncSignal,
) -> None:
    told: list[signals.CommitHookFailed] = []

    def note(details: signals.CommitHookFailed, **kwargs: Any) -> None:
        told.append(details)

    def receive(sender: object, instance: Thing, **kwargs: Any) -> None:
        if len(calls) < 5:  # or it would go on
            transaction.on_commit(instance.save)
        calls.append(instance.name)

    calls: list[str] = []
    signals.commit_hook_failed.connect(note)
    name = f"tests.{uuid.uuid4().hex}"
    async_receiver(post_save, sender=Thing, name=name)(receive)
    try:
        Thing.objects.create(name="x")
        with pytest.raises(SignalLoop, match="once more"):
            run_pending()
    finally:
        post_save.disconnect(sender=Thing, dispatch_uid=name)
    assert isinstance(told[0].error, SignalLoop)
    assert Delivery.objects.get().state == "succeeded"
