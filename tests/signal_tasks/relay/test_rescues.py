"""Relays count what they publish in place of the senders, and status shows it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from signal_tasks import AsyncSignal, health
from signal_tasks.models import Delivery, Worker
from signal_tasks.relay.relay import Relay
from signal_tasks.relay.rescues import WINDOW, Rescues
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.relay.steps import lose, pending, run_pass

pytestmark = pytest.mark.django_db


def pass_seconds(seconds: float) -> None:
    """Make everything so many seconds older."""
    ago = timedelta(seconds=seconds)
    Delivery.objects.update(
        available_at=F("available_at") - ago, next_check_at=F("next_check_at") - ago
    )


def test_what_its_sender_did_not_publish_is_counted_once(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal)
    pending(signal, 3)
    pass_seconds(6)
    assert run_pass(relay).rescued == 3
    pass_seconds(6)
    result = run_pass(relay)
    assert (result.published, result.rescued) == (3, 0)


def test_what_was_delayed_is_not_counted(signal: AsyncSignal, relay: Relay) -> None:
    listen(signal)
    signal.using(delay=5).send(sender=None)
    pass_seconds(6)
    result = run_pass(relay)
    assert (result.published, result.rescued) == (1, 0)


def test_what_a_worker_held_is_not_counted(signal: AsyncSignal, relay: Relay) -> None:
    listen(signal)
    lose(*pending(signal, 2))
    result = run_pass(relay)
    assert (result.recovered, result.published, result.rescued) == (2, 2, 0)


def test_status_tells_how_many_were_rescued_lately(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "WORKER_TTL": 1e-3}
    relay = Relay("relay@test")
    listen(signal)
    pending(signal, 2)
    pass_seconds(6)
    run_pass(relay)
    run_pass(relay)  # reports it
    assert Worker.objects.get().rescued == 2
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "WORKER_TTL": 10}
    assert health()["rescued"] == 2
    relay.close()
    assert health()["rescued"] == 0


def test_status_tells_what_the_broker_did_meanwhile(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "WORKER_TTL": 1e-3}
    url = settings.CELERY_BROKER_URL
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    relay = Relay("relay@test")
    listen(signal)
    pending(signal)
    pass_seconds(6)
    run_pass(relay)
    run_pass(relay)
    settings.CELERY_BROKER_URL = url
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "WORKER_TTL": 10}
    (error,) = health()["broker_errors"]
    assert "refused" in error
    relay.close()


def test_a_rescue_is_forgotten_after_five_minutes() -> None:
    rescues = Rescues()
    rescues.note(OSError("gone"), now=100.0)
    assert rescues.facts(now=100.0 + WINDOW)["broker_error"] == "gone"
    assert rescues.facts(now=101.0 + WINDOW) == {"rescued": 0, "broker_error": ""}
