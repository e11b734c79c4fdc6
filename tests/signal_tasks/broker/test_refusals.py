"""A receiver that cannot be published harms no other, and waits visibly until it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command

from signal_tasks import AsyncSignal, health, signals
from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.exceptions import BrokerUnavailable
from signal_tasks.models import Delivery
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.relay.steps import (
    pass_time,
    received,
    run_pass,
    send,
    wait,
)

pytestmark = pytest.mark.django_db

GOOD, BAD = "t.good", "t.bad"


def cannot_be_routed(name: str, *_: Any, **__: Any) -> dict[str, str] | None:
    if name == BAD:
        raise OSError("no such route")  # might be a socket's, too
    return None


@pytest.fixture
def relay() -> Iterator[Relay]:
    received()
    relay = Relay("relay@test")
    yield relay
    relay.close()


@pytest.fixture
def configure() -> Iterator[Callable[..., None]]:
    """Change settings of the Celery app for this test."""
    changed: list[str] = []

    def configure(**settings: Any) -> None:
        for name, value in settings.items():
            current_app.conf[name] = value
            changed.append(name)
        forget()

    yield configure
    for name in changed:
        current_app.conf.changes.pop(name, None)
    forget()


def forget() -> None:
    """Have Celery look at its routes and queues again."""
    vars(current_app._get_current_object()).pop("amqp", None)


@pytest.fixture
def routes_fail(configure: Callable[..., None]) -> Callable[..., None]:
    configure(task_routes=[cannot_be_routed])
    return lambda: configure(task_routes=None)


@pytest.fixture
def failures() -> Iterator[list[tuple[str | None, str]]]:
    """Record what is told of failed publications: the receiver, the kind of error."""
    told = []

    def note(details: signals.PublicationFailed, **_: Any) -> None:
        told.append((details.receiver, type(details.error).__name__))

    signals.publication_failed.connect(note)
    yield told
    signals.publication_failed.disconnect(note)


def good_and_bad(signal: AsyncSignal, events: int = 1) -> None:
    """Send events that no process publishes, to one receiver that can be and another."""
    listen(signal, name=BAD)
    listen(signal, name=GOOD)
    send(signal, events)


def bad() -> Delivery:
    delivery: Delivery = Delivery.objects.get(receiver=BAD)
    return delivery


@pytest.mark.usefixtures("routes_fail")
def test_the_others_are_published_and_it_is_parked_with_the_reason(
    signal: AsyncSignal, relay: Relay, failures: list[Any]
) -> None:
    good_and_bad(signal, 3)
    result = run_pass(relay)
    assert (result.published, result.parked) == (3, 3)
    assert [message.task for message in received()] == [GOOD]
    reasons = Delivery.objects.values_list("receiver", "state", "parked").distinct()
    assert set(reasons) == {
        (GOOD, "pending", ""),
        (BAD, "pending", "OSError: no such route"),
    }
    assert failures == [(BAD, "OSError")]


@pytest.mark.usefixtures("routes_fail")
def test_status_counts_it_and_says_why(signal: AsyncSignal, relay: Relay) -> None:
    good_and_bad(signal, 2)
    run_pass(relay)
    seen = health()
    assert seen["receivers"][BAD]["parked"] == seen["parked"] == 2
    assert seen["receivers"][GOOD]["parked"] == 0
    said = f"2 deliveries of {BAD} cannot be published: OSError: no such route"
    assert said in seen["problems"]
    assert not seen["healthy"]


def test_it_is_published_by_itself_once_the_cause_is_mended(
    signal: AsyncSignal, relay: Relay, routes_fail: Callable[[], None]
) -> None:
    good_and_bad(signal)
    run_pass(relay)
    received()
    routes_fail()
    pass_time()
    after_its_rest = Relay("relay@another")
    assert run_pass(after_its_rest).published == 2
    after_its_rest.close()
    assert BAD in [message.task for message in received()]
    assert bad().parked == ""
    assert health()["parked"] == 0


@pytest.mark.usefixtures("routes_fail")
def test_it_is_tried_again_after_twice_the_time_each_time(signal: AsyncSignal) -> None:
    listen(signal, name=BAD)
    send(signal)
    waits = []
    for _ in range(7):
        pass_time()
        relay = Relay("relay@test")
        assert run_pass(relay).published == 0
        relay.close()
        waits.append(wait())
    assert waits == pytest.approx([2, 4, 8, 16, 32, 60, 60], abs=1.5)


@pytest.mark.usefixtures("routes_fail")
def test_it_runs_without_having_been_published(
    signal: AsyncSignal, relay: Relay
) -> None:
    good_and_bad(signal)
    run_pass(relay)
    run_pending()
    assert bad().state == "succeeded"
    assert bad().parked == ""


@pytest.mark.usefixtures("routes_fail")
def test_what_is_discarded_while_parked_is_not_parked_when_it_is_replayed(
    signal: AsyncSignal, relay: Relay
) -> None:
    good_and_bad(signal)
    run_pass(relay)
    Delivery.objects.filter(receiver=BAD).discard()
    assert health()["parked"] == 0
    Delivery.objects.filter(receiver=BAD).replay()
    assert bad().parked == ""


def test_a_queue_that_does_not_exist_is_its_receivers_failure(
    signal: AsyncSignal, relay: Relay, configure: Callable[..., None]
) -> None:
    configure(task_create_missing_queues=False)
    listen(signal, name=BAD, queue="nowhere")
    listen(signal, name=GOOD)
    send(signal)
    assert run_pass(relay).published == 1
    assert bad().parked.startswith("QueueNotFound")


def test_options_that_cannot_be_read_are_their_receivers_failure(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    good_and_bad(signal)
    options = current_app.tasks[BAD]._get_exec_options()
    monkeypatch.setitem(options, "compression", "unheard of")
    assert run_pass(relay).published == 1
    assert bad().parked.startswith("KeyError")


def test_a_payload_for_another_serializer_is_its_receivers_failure(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    good_and_bad(signal)
    options = current_app.tasks[BAD]._get_exec_options()
    monkeypatch.setitem(options, "serializer", "unheard of")
    assert run_pass(relay).published == 1
    assert "unheard of" in bad().parked


@pytest.mark.usefixtures("routes_fail")
def test_a_connection_leaves_a_receiver_that_failed_alone_for_a_while(
    signal: AsyncSignal, failures: list[Any]
) -> None:
    listen(signal, name=BAD)
    request = PublishRequest(receiver=BAD, database="default", ids=["1"])
    connection = BrokerConnection()
    for _ in range(3):
        done = connection.publish([request])
        assert done.error is None
        assert list(done.refused) == [BAD]
    connection.close()
    assert failures == [(BAD, "OSError")]
    assert not connection.is_resting


def test_a_broker_that_is_down_is_no_receivers_failure(
    signal: AsyncSignal, relay: Relay, failures: list[Any], settings: Any
) -> None:
    good_and_bad(signal)
    url = settings.CELERY_BROKER_URL
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    assert run_pass(relay).parked == 0
    settings.CELERY_BROKER_URL = url
    assert failures == [(None, BrokerUnavailable.__name__)]
    assert set(Delivery.objects.values_list("parked", flat=True)) == {""}


@pytest.mark.usefixtures("routes_fail")
def test_the_command_shows_it(
    signal: AsyncSignal, relay: Relay, capsys: pytest.CaptureFixture[str]
) -> None:
    good_and_bad(signal)
    run_pass(relay)
    with pytest.raises(SystemExit):
        call_command("signal_tasks", "status")
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split()[-1] == "parked"
    assert f"1 delivery of {BAD} cannot be published" in shown.err
