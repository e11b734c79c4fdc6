"""A queue that nobody consumes is a problem as soon as deliveries wait in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, health
from signal_tasks.models import Delivery, Worker
from signal_tasks.relay.heartbeat import Heartbeat
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _others_are_served() -> None:
    """Receivers of other modules have no part in these tests."""
    Heartbeat("celery@others", queues=lambda: ["tests", "elsewhere"]).report("default")


@pytest.fixture
def routes() -> Iterator[Callable[[Any], None]]:
    """Change Celery's routes for this test."""

    def route(routes: Any) -> None:
        current_app.conf.task_routes = routes
        vars(current_app._get_current_object()).pop("amqp", None)

    yield route
    current_app.conf.changes.pop("task_routes", None)
    vars(current_app._get_current_object()).pop("amqp", None)


def wait(signal: AsyncSignal, seconds: float = 40, **options: Any) -> None:
    """Send, and let what was sent be due for so long."""
    signal.using(**options).send(sender=None)
    ago = timedelta(seconds=seconds)
    Delivery.objects.update(available_at=F("available_at") - ago)


def test_a_queue_that_nobody_consumes_is_a_problem(signal: AsyncSignal) -> None:
    listen(signal, name="t.mail", queue="mail")
    wait(signal)
    told = health()
    assert told["healthy"] is False
    (problem,) = told["problems"]
    assert "queue 'mail'" in problem
    assert "wait in it: 1 (t.mail)" in problem
    assert "-Q mail" in problem
    assert "add_consumer mail" in problem


def test_each_queue_is_told_once(signal: AsyncSignal) -> None:
    for name in ("a", "b"):
        listen(signal, name=f"t.mail_{name}", queue="mail")
    listen(signal, name="t.fax", queue="fax", aliases=["t.telex"])
    wait(signal)
    Delivery.objects.filter(receiver="t.fax").update(receiver="t.telex")
    fax, mail = health()["problems"]
    assert "wait in it: 1 (t.telex)" in fax
    assert "wait in it: 2 (t.mail_a, t.mail_b)" in mail


def test_a_worker_that_consumes_it_is_enough(signal: AsyncSignal) -> None:
    listen(signal, queue="mail")
    wait(signal)
    heartbeat = Heartbeat("celery@mail", queues=lambda: ["fax", "mail"])
    heartbeat.report("default")
    assert Worker.objects.get(name="celery@mail").queues == "fax\nmail"
    assert health()["problems"] == []


def test_a_worker_that_no_longer_consumes_it_is_not(signal: AsyncSignal) -> None:
    listen(signal, queue="mail")
    wait(signal)
    queues = ["mail"]
    heartbeat = Heartbeat("celery@mail", queues=lambda: queues)
    heartbeat.report("default")
    assert health()["problems"] == []
    queues.clear()
    heartbeat.report("default")
    assert len(health()["problems"]) == 1


def test_nor_is_one_that_is_not_seen_any_more(signal: AsyncSignal) -> None:
    listen(signal, queue="mail")
    wait(signal)
    Heartbeat("celery@mail", queues=lambda: ["mail"]).report("default")
    gone = Worker.objects.filter(name="celery@mail")
    gone.update(seen_at=F("seen_at") - timedelta(hours=1))
    assert len(health()["problems"]) == 1


def test_a_relay_alone_consumes_nothing(signal: AsyncSignal) -> None:
    listen(signal, queue="mail")
    wait(signal)
    Heartbeat("relay@here").report("default")
    assert Worker.objects.get(name="relay@here").queues == ""
    assert len(health()["problems"]) == 1


def test_without_any_worker_that_is_what_is_told(signal: AsyncSignal) -> None:
    Worker.objects.all().delete()
    listen(signal, queue="mail")
    wait(signal)
    (problem,) = health()["problems"]
    assert "no live worker or relay" in problem


@pytest.mark.parametrize("options", [{}, {"delay": 3600}], ids=["new", "delayed"])
def test_what_is_new_or_not_due_is_no_problem(
    options: dict[str, Any], signal: AsyncSignal
) -> None:
    listen(signal, queue="mail")
    wait(signal, seconds=5, **options)
    assert health()["problems"] == []


def test_a_route_of_celerys_leads_to_its_queue(
    signal: AsyncSignal, routes: Callable[[Any], None]
) -> None:
    routes({"t.routed": {"queue": "parcels"}})
    listen(signal, name="t.routed")
    wait(signal)
    (problem,) = health()["problems"]
    assert "queue 'parcels'" in problem


def test_a_route_that_leads_nowhere_is_not_told_here(
    signal: AsyncSignal, routes: Callable[[Any], None]
) -> None:
    def nowhere(name: str, *_: Any, **__: Any) -> None:
        raise OSError("no such route")

    routes([nowhere])
    listen(signal)
    wait(signal)
    assert health()["problems"] == []


def test_queues_that_are_all_consumed_cost_no_statement(signal: AsyncSignal) -> None:
    with CaptureQueriesContext(connection) as before:
        health()
    listen(signal, queue="mail")
    wait(signal)
    Heartbeat("celery@mail", queues=lambda: ["mail"]).report("default")
    with CaptureQueriesContext(connection) as after:
        health()
    assert len(after) == len(before)


def test_a_name_that_would_pass_for_two_is_not_reported() -> None:
    Heartbeat("celery@odd", queues=lambda: ["a\nmail", "b"]).report("default")
    assert Worker.objects.get(name="celery@odd").queues == "b"
