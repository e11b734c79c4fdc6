"""A relay writes heartbeats, and one failing database harms no other."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from signal_tasks import signals
from signal_tasks.models import Worker
from signal_tasks.relay.relay import Relay
from tests.signal_tasks.relay.steps import run_pass

pytestmark = pytest.mark.django_db


def test_a_relay_is_seen_while_it_is_at_work(relay: Relay) -> None:
    run_pass(relay)
    run_pass(relay)
    assert Worker.objects.get().name == "relay@test"
    relay.close()
    assert not Worker.objects.exists()


def test_a_pass_leaves_the_transaction_of_a_test_alone(relay: Relay) -> None:
    Worker.objects.create(name="celery@here")
    run_pass(relay)
    relay.close()
    assert connection.in_atomic_block
    assert Worker.objects.get().name == "celery@here"


def test_a_database_that_fails_does_not_harm_the_others(
    relay: Relay, settings: Any
) -> None:
    failed = []

    def note(details: signals.PassFailed, **kwargs: Any) -> None:
        failed.append(details.database)

    signals.pass_failed.connect(note)
    settings.SIGNAL_TASKS = {"DATABASES": ["nowhere", "default"]}
    assert list(relay.run_once()) == ["default"]
    assert failed == ["nowhere"]
