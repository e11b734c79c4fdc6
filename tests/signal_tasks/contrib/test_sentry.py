"""Sentry gets one issue for each receiver and error, and nothing of what is retried."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import sentry_sdk
from celery import current_app
from django.db import transaction
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

from signal_tasks import AsyncSignal, Reject, Retry, RetryPolicy, signals
from signal_tasks.contrib.sentry import SignalTasksIntegration
from signal_tasks.models import Delivery
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db

ONCE = RetryPolicy(max_attempts=1)


class Memory(Transport):
    """Keeps the events that would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(dict(event))


Init = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def init() -> Iterator[Init]:
    """Return a function that starts Sentry; it returns the events that are sent."""

    def start(*, retried: bool = False) -> list[dict[str, Any]]:
        transport = Memory()
        sentry_sdk.init(
            dsn="http://key@localhost/1",
            transport=transport,
            default_integrations=False,
            integrations=[
                SignalTasksIntegration(retried=retried),
                CeleryIntegration(),
                LoggingIntegration(),
            ],
        )
        return transport.events

    yield start
    sentry_sdk.get_global_scope().set_client(None)
    sentry_sdk.init()


def stumble(sender: object, number: int = 0, **kwargs: Any) -> None:
    raise ValueError(f"no parcel number {number}")


def connect(signal: AsyncSignal, name: str, receiver: Any, **options: Any) -> None:
    signal.connect(receiver, name=name, weak=False, **options)


def test_a_dead_letter_is_one_event_with_its_ids(
    signal: AsyncSignal, init: Init
) -> None:
    events = init()
    connect(signal, "sentry.dead", stumble, retry=ONCE)
    ((_, handle),) = signal.send(sender=None)
    run_pending()
    (event,) = events
    assert event["level"] == "error"
    assert event["exception"]["values"][-1]["type"] == "ValueError"
    assert event["tags"] == {
        "receiver": "sentry.dead",
        "signal": signal.name,
        "event_id": str(handle.event_id),
        "delivery_id": str(handle.id),
        "attempt": "1",
        "reason": "exhausted",
    }


def test_the_same_error_of_a_receiver_is_one_issue(
    signal: AsyncSignal, init: Init
) -> None:
    events = init()
    connect(signal, "sentry.dead", stumble, retry=ONCE)
    connect(signal, "sentry.other", partial(stumble), retry=ONCE)
    for number in range(3):
        signal.send(sender=None, number=number)
    run_pending()
    issues = {tuple(event["fingerprint"]) for event in events}
    assert len(events) == 6
    assert {issue[1] for issue in issues} == {"sentry.dead", "sentry.other"}
    assert len(issues) == 2


def test_what_is_retried_makes_no_noise(signal: AsyncSignal, init: Init) -> None:
    events = init()
    connect(signal, "sentry.retried", stumble)
    signal.send(sender=None)
    run_pending()
    assert events == []


def test_what_is_retried_may_be_reported_as_a_warning(
    signal: AsyncSignal, init: Init
) -> None:
    events = init(retried=True)
    connect(signal, "sentry.retried", stumble)
    signal.send(sender=None)
    run_pending()
    assert [event["level"] for event in events] == ["warning"]


def test_to_ask_for_a_retry_is_never_reported(signal: AsyncSignal, init: Init) -> None:
    events = init(retried=True)

    def wait(sender: object, **kwargs: Any) -> None:
        raise Retry(after=10)

    connect(signal, "sentry.waiting", wait)
    signal.send(sender=None)
    run_pending()
    assert events == []


def test_a_success_is_not_reported(signal: AsyncSignal, init: Init) -> None:
    events = init(retried=True)
    listen(signal)
    signal.send(sender=None)
    run_pending()
    assert events == []


def test_a_row_that_is_gone_is_a_warning(signal: AsyncSignal, init: Init) -> None:
    events = init()
    listen(signal)
    thing = Thing.objects.create(name="gone")
    signal.send(sender=None, thing=thing)
    thing.delete()
    run_pending()
    assert [event["level"] for event in events] == ["warning"]


def test_a_delivery_whose_workers_died_is_reported(init: Init) -> None:
    events = init()
    details = signals.DeliveryDead(
        delivery_id=uuid.uuid4(),
        receiver="sentry.lost",
        database="default",
        run=1,
        attempt=3,
        reason="lost",
        error="its worker died",
    )
    signals.delivery_dead.send(Relay, details=details)
    (event,) = events
    assert event["fingerprint"] == ["signal_tasks", "sentry.lost", "lost"]
    assert event["tags"]["delivery_id"] == str(details.delivery_id)


@pytest.mark.django_db(transaction=True)
def test_through_celery_too_a_dead_letter_is_one_event(
    signal: AsyncSignal, init: Init
) -> None:
    events = init()

    def refuse(sender: object, **kwargs: Any) -> None:
        raise Reject("no")

    connect(signal, "sentry.refused", refuse)
    signal.using(delay=0.001).send(sender=None)
    ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]
    current_app.tasks["sentry.refused"].apply(args=(ids, "default"))
    assert Delivery.objects.get().state == "dead"
    assert [event["tags"]["receiver"] for event in events] == ["sentry.refused"]


@pytest.mark.django_db(transaction=True)
def test_a_failing_hook_is_one_event_without_local_variables(
    signal: AsyncSignal, init: Init
) -> None:
    events = init()

    def receive(sender: object, **kwargs: Any) -> None:
        transaction.on_commit(partial(stumble, sender))

    connect(signal, "sentry.hook", receive)
    signal.using(delay=0.001).send(sender=None)
    ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]
    current_app.tasks["sentry.hook"].apply(args=(ids, "default"))
    assert Delivery.objects.get().state == "succeeded"
    (event,) = events
    assert event["tags"]["receiver"] == "sentry.hook"
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "ValueError"
    assert not any("vars" in frame for frame in exception["stacktrace"]["frames"])


def test_without_the_integration_nothing_is_reported(
    signal: AsyncSignal, init: Init
) -> None:
    init()
    transport = Memory()
    sentry_sdk.init(
        dsn="http://key@localhost/1", transport=transport, default_integrations=False
    )
    connect(signal, "sentry.dead", stumble, retry=ONCE)
    signal.send(sender=None)
    run_pending()
    assert transport.events == []


SETTINGS = """
import sentry_sdk
from signal_tasks.contrib.sentry import SignalTasksIntegration
sentry_sdk.init(dsn="http://key@localhost/1", integrations=[SignalTasksIntegration()])
import django
django.setup()
"""
WITHOUT = """
import sys
sys.modules["sentry_sdk"] = None
import signal_tasks.contrib.sentry
"""


def test_it_is_started_in_the_settings_before_django_is_set_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_without_the_extra_the_error_names_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True
    )
    assert "django-signal-tasks[sentry]" in done.stderr


def test_no_local_variable_of_a_sensitive_signal_is_reported(init: Init) -> None:
    signal = AsyncSignal(name="tests.sentry_sensitive", sensitive=("email",))
    events = init()
    connect(signal, "sentry.sensitive", stumble, retry=ONCE)
    signal.send(sender=None, email="ann@example.org")
    run_pending()
    (event,) = events
    assert "stumble" in json.dumps(event["exception"])
    assert "ann@example.org" not in json.dumps(event)
