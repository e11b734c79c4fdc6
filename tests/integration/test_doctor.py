"""The doctor's test event through a real broker and a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app

from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.publisher import publisher
from signal_tasks.models import Delivery, Event, History, Worker
from signal_tasks.registry.naming import PROBE
from tests.integration.workers import CeleryWorker, eventually
from tests.servers import RedisServer
from tests.signal_tasks.command import told


def finding(step: str, *, status: int = 0) -> dict[str, Any]:
    """Run the doctor; return its finding of a step."""
    report = told("doctor", "--timeout", "20", status=status)
    (found,) = [each for each in report["findings"] if each["step"] == step]
    return dict(found)


def test_a_test_event_is_sent_published_started_finished_and_removed(
    reported: CeleryWorker,
) -> None:
    found = finding("test event")
    times = found["details"]["times"]
    assert 0 < times["send"] < times["publish"]
    assert 0 < times["start"] <= times["finish"] < 10
    assert found["details"]["worker"] in reported.output
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()
    assert not History.objects.filter(receiver=PROBE).exists()


@pytest.fixture
def reported(worker: CeleryWorker) -> CeleryWorker:
    """Return the worker, once it has reported again."""
    eventually(Worker.objects.exists)
    return worker


@pytest.fixture
def _other_broker(redis: RedisServer) -> Iterator[None]:
    """Let this process publish to a broker that is not there."""
    urls = {"broker_url": redis.url, "broker_write_url": redis.url}
    current_app.conf.update(dict.fromkeys(urls, "redis://127.0.0.1:1/0"))
    publisher._connection = BrokerConnection()
    yield
    current_app.conf.update(urls)


@pytest.mark.usefixtures("_other_broker")
def test_a_test_event_that_only_a_relay_could_publish_is_a_problem(
    reported: CeleryWorker,
) -> None:
    found = finding("test event", status=1)
    assert "only a relay has published it" in found["text"]
    assert "could not publish it itself" in found["remedy"]
    assert found["details"]["times"]["start"] >= 1


def test_a_worker_says_once_what_it_serves_and_nothing_per_delivery(
    reported: CeleryWorker,
) -> None:
    finding("test event")
    assert reported.output.count("serves the queues") == 1
    assert "tests.testapp.receivers" in reported.output
    assert " ms, event " not in reported.output
