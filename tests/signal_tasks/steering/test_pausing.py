"""What is paused does not start, is not published, and spends no attempt."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from signal_tasks import AsyncSignal, health
from signal_tasks.broker.publisher import publisher
from signal_tasks.delivery.message import process_message
from signal_tasks.delivery.result import MessageResult
from signal_tasks.models import (
    Control,
    Delivery,
    Event,
    Gate,
    HeldDelivery,
    Worker,
)
from signal_tasks.operations import pause, resume
from signal_tasks.relay.relay import Relay
from signal_tasks.reports.overview import overview
from signal_tasks.steering import snapshot
from signal_tasks.telemetry import gauges
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.relay.steps import (
    only,
    pass_time,
    received,
    run_pass,
    wait,
)

pytestmark = pytest.mark.django_db(transaction=True)


def deliver(name: str = "t.steered", number: int | None = None) -> MessageResult:
    """Process a message with the ids of all deliveries of a receiver."""
    rows = Delivery.objects.filter(receiver=name).order_by("pk")
    ids = [str(pk) for pk in rows.values_list("pk", flat=True)[:number]]
    return process_message(name, ids, "default", seconds=math.inf)


def send(signal: AsyncSignal, number: int = 1) -> None:
    """Send events whose messages get lost, so that they are due for the relay."""
    signal.send_many(sender=None, items=[{}] * number)
    publisher.flush(5)
    received("tests")
    received("steered")
    pass_time(hours=1)


def states() -> list[tuple[str, int]]:
    """Return the states of all deliveries, each with the attempts spent."""
    return sorted(set(Delivery.objects.values_list("state", "attempts")))


@pytest.fixture
def worker() -> None:
    """A live worker, so that nothing is wrong by itself."""
    Worker.objects.create(name="celery@here", queues="tests")


def expire() -> None:
    """Let all controls have expired a moment ago."""
    Control.objects.update(until=F("created_at") - timedelta(seconds=1))
    snapshot.forget()


@pytest.fixture
def targets(signal: AsyncSignal) -> dict[str, Callable[[], object]]:
    """Return what belongs to the receiver of these tests, each in several forms."""
    return {
        "everything": lambda: "*",
        "receiver": lambda: "receiver:t.steered",
        "name": lambda: "t.steered",
        "signal": lambda: signal,
        "signal's name": lambda: f"signal:{signal.name}",
        "queue": lambda: "queue:steered",
    }


TARGETS = ["everything", "receiver", "name", "signal", "signal's name", "queue"]


@pytest.mark.parametrize("kind", TARGETS)
def test_what_is_paused_does_not_start_and_spends_no_attempt(
    kind: str, signal: AsyncSignal, targets: Any
) -> None:
    calls = listen(signal, name="t.steered", queue="steered")
    signal.send_many(sender=None, items=[{}] * 5)
    pause(targets[kind]())
    assert deliver().held == 5
    assert calls == []
    assert states() == [("pending", 0)]
    assert set(HeldDelivery.objects.values_list("why", flat=True)) == {"paused"}


@pytest.mark.parametrize("kind", TARGETS)
def test_what_is_paused_is_held_by_relays_and_not_published(
    kind: str, signal: AsyncSignal, relay: Relay, targets: Any
) -> None:
    listen(signal, name="t.steered", queue="steered")
    send(signal, 3)
    pause(targets[kind]())
    done = run_pass(relay)
    assert (done.published, done.held) == (0, 3)
    assert received("steered") == []
    again = run_pass(relay)
    assert (again.published, again.held, again.released) == (0, 0, 0)
    assert states() == [("pending", 0)]


@pytest.mark.parametrize("kind", TARGETS)
def test_what_is_resumed_is_published_in_the_next_pass_and_runs(
    kind: str, signal: AsyncSignal, relay: Relay, targets: Any
) -> None:
    calls = listen(signal, name="t.steered", queue="steered")
    send(signal, 3)
    pause(targets[kind]())
    run_pass(relay)
    resume(targets[kind]())
    done = run_pass(relay)
    assert (done.released, done.published) == (3, 3)
    assert done.rescued == 0  # nobody was late
    (message,) = received("steered")
    process_message("t.steered", message.ids, "default")
    assert len(calls) == 3
    assert states() == [("succeeded", 1)]
    assert not HeldDelivery.objects.exists()


def test_a_pause_that_expires_counts_as_resumed(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.steered")
    send(signal, 3)
    pause("t.steered", until=timedelta(hours=1))
    assert run_pass(relay).held == 3
    expire()
    done = run_pass(relay)
    assert (done.released, done.published) == (3, 3)
    assert len(run_pending()) == 3


def test_the_pause_of_a_signal_leaves_other_events_of_its_receiver_alone(
    signal: AsyncSignal, relay: Relay
) -> None:
    other = AsyncSignal(name=f"tests.other_{uuid.uuid4().hex}")
    heard = []

    def hear(sender: object, of: str, **_: object) -> None:
        heard.append(of)

    for each in (signal, other):
        each.connect(hear, weak=False, name="t.steered")
    signal.send_many(sender=None, items=[{"of": "paused"}] * 3)
    other.send_many(sender=None, items=[{"of": "other"}] * 4)
    pause(signal)
    done = deliver()
    assert (done.held, len(done.outcomes)) == (3, 4)
    assert heard == ["other"] * 4


def test_a_pause_of_one_receiver_leaves_others_alone(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.steered")
    calls = listen(signal, name="t.free")
    signal.send(sender=None)
    pause("t.steered")
    deliver()
    deliver("t.free")
    assert len(calls) == 1
    rows = Delivery.objects.order_by("receiver").values_list("receiver", "state")
    assert list(rows) == [("t.free", "succeeded"), ("t.steered", "pending")]


def test_what_runs_when_it_is_paused_finishes(signal: AsyncSignal) -> None:
    def pausing(sender: object, **_: object) -> None:
        # In another thread, as another process does it.
        thread = Thread(target=pause_elsewhere)
        thread.start()
        thread.join(10)

    def pause_elsewhere() -> None:
        try:
            pause("t.pausing")
        finally:
            connection.close()

    signal.connect(pausing, weak=False, name="t.pausing", atomic=False)
    signal.send(sender=None)
    deliver("t.pausing")
    assert states() == [("succeeded", 1)]


def test_a_pause_is_honoured_between_two_batches_of_a_message(
    signal: AsyncSignal,
) -> None:
    signal.connect(
        lambda sender, **_: pause("t.pausing"),
        weak=False,
        name="t.pausing",
        atomic=False,
    )
    signal.send_many(sender=None, items=[{}] * 25)
    done = deliver("t.pausing")
    assert 0 < len(done.outcomes) < 25
    assert len(done.outcomes) + done.held == 25
    assert states() == [("pending", 0), ("succeeded", 1)]


def test_what_is_held_waits_ten_minutes_then_twice_that_without_a_relay(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.steered")
    signal.send(sender=None)
    pause("t.steered")
    waits = []
    for _ in range(5):
        deliver()
        waits.append(wait())
    assert waits == pytest.approx([600, 1200, 2400, 3600, 3600], abs=9)


def test_a_retry_that_is_not_due_is_not_held(signal: AsyncSignal) -> None:
    listen(signal, name="t.steered")
    signal.using(delay=300).send(sender=None)
    pause("t.steered")
    done = deliver()
    assert (done.held, done.not_due) == (0, 1)
    assert wait() == pytest.approx(300, abs=9)


def test_what_was_due_later_is_not_published_before(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.steered")
    signal.send(sender=None)
    pause("t.steered")
    deliver()
    Delivery.objects.update(available_at=F("available_at") + timedelta(hours=2))
    resume("t.steered")
    done = run_pass(relay)
    assert (done.released, done.published) == (1, 0)
    assert wait() == pytest.approx(7200, abs=9)


def test_what_is_sent_while_paused_is_held_too(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.steered")
    pause("t.steered")
    signal.send(sender=None)
    assert deliver().held == 1
    assert run_pass(relay).published == 0


def test_two_pauses_have_to_be_resumed_both(signal: AsyncSignal, relay: Relay) -> None:
    listen(signal, name="t.steered")
    send(signal)
    pause("t.steered")
    pause("*")
    assert run_pass(relay).held == 1
    resume("t.steered")
    assert run_pass(relay).released == 0
    resume("*")
    assert run_pass(relay).published == 1


def test_what_waits_for_its_signal_waits_for_its_receiver_next(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.steered")
    send(signal)
    pause(signal)
    assert run_pass(relay).held == 1
    pause("t.steered")
    resume(signal)
    done = run_pass(relay)
    assert (done.released, done.held, done.published) == (1, 1, 0)
    assert HeldDelivery.objects.get().receiver == "t.steered"
    resume("t.steered")
    run_pass(relay)
    done = run_pass(relay)
    assert only().publish_count == 2
    assert not HeldDelivery.objects.exists()


def test_a_gate_at_which_nothing_waits_is_looked_at_no_more(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.steered")
    send(signal)
    pause("t.steered")
    run_pass(relay)
    assert Gate.objects.get().holding
    resume("t.steered")
    run_pass(relay)
    assert not Gate.objects.get().holding


def test_two_workers_with_the_same_message_hold_it_once(signal: AsyncSignal) -> None:
    listen(signal, name="t.steered")
    signal.send_many(sender=None, items=[{}] * 50)
    pause("t.steered")
    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert HeldDelivery.objects.count() == 50
    assert states() == [("pending", 0)]


def work() -> None:
    """Process the message as another worker does, over a connection of its own."""
    try:
        deliver()
    finally:
        connection.close()


def test_a_pause_that_is_rolled_back_never_was(signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.steered")
    signal.send(sender=None)
    with transaction.atomic():
        pause("t.steered")
        transaction.set_rollback(True)
    deliver()
    assert len(calls) == 1


@pytest.mark.usefixtures("worker")
def test_events_of_a_former_name_of_a_paused_signal_are_not_late() -> None:
    signal = AsyncSignal(name="t.now_paused", aliases=["t.formerly"])
    listen(signal, name="t.steered")
    signal.send(sender=None)
    Event.objects.update(signal="t.formerly")
    Delivery.objects.update(available_at=F("available_at") - timedelta(days=1))
    assert not health()["healthy"]
    pause(signal)
    assert health()["healthy"]
    assert deliver().held == 1
    assert health()["healthy"]


def test_what_a_paused_signal_holds_is_shown_of_its_receivers(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.steered")
    signal.send_many(sender=None, items=[{}] * 2)
    pause(signal)
    assert deliver().held == 2
    assert Gate.objects.get().pk == f"signal:{signal.name}"
    load = gauges.read("default").of("t.steered")
    assert (load.pending, load.due, load.held) == (2, 0, {"paused": 2})
    shown = {*gauges.read("default").receivers} | {
        line.name for line in overview("default").receivers
    }
    assert not [name for name in shown if name.startswith("signal:")]
