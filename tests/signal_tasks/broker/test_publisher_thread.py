"""The thread of the publisher: it lives on, and keeps nothing open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery.signals import before_task_publish
from django.db import connection, connections

from signal_tasks import AsyncSignal, signals
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import Publisher
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.relay.steps import received

GOOD = "t.published"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    received()
    publisher = Publisher()
    yield publisher
    publisher.flush(5)


@pytest.fixture
def _receiver(signal: AsyncSignal) -> None:
    listen(signal, name=GOOD)


def request(*ids: str) -> PublishRequest:
    return PublishRequest(receiver=GOOD, database="default", ids=ids)


def ids_received() -> list[str]:
    return sorted(pk for message in received() for pk in message.ids)


class Outage:
    """An outage that ends the thread in which it is told, once that is asked for."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._url = settings.CELERY_BROKER_URL
        self._told, self._go_on = threading.Event(), threading.Event()
        settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"

    def listen(self, **_: Any) -> None:
        if not self._go_on.is_set():
            self._told.set()
            assert self._go_on.wait(30)
            raise SystemExit

    def wait(self) -> None:
        """Wait until the thread has met the outage, which is then over."""
        assert self._told.wait(30)
        self._settings.CELERY_BROKER_URL = self._url

    def end_thread(self) -> None:
        thread = the_thread()
        self._go_on.set()
        thread.join(30)


@pytest.fixture
def outage(settings: Any) -> Iterator[Outage]:
    outage = Outage(settings)
    signals.publication_failed.connect(outage.listen)
    yield outage
    signals.publication_failed.disconnect(outage.listen)


def the_thread() -> threading.Thread:
    """Return the newest publishing thread."""
    threads = [t for t in threading.enumerate() if t.name == "signal_tasks-publisher"]
    return threads[-1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.usefixtures("_receiver")
def test_a_thread_that_died_with_a_full_backlog_is_replaced(
    publisher: Publisher, outage: Outage, settings: Any
) -> None:
    # Not 0.01: a quick machine is there before the broker is tried again.
    settings.SIGNAL_TASKS = {"PUBLISH_BACKLOG": 2, "BREAKER_SECONDS": 1e-9}
    publisher.submit(request("lost"))
    outage.wait()
    publisher.submit(request("one", "two"))
    publisher.submit(request("too many"))
    outage.end_thread()
    publisher.submit(request("starts it"))
    assert publisher.flush(5)
    assert {"one", "two"} <= set(ids_received())


@pytest.mark.usefixtures("_receiver")
def test_an_error_that_nobody_thought_of_does_not_end_the_thread(
    publisher: Publisher, settings: Any
) -> None:
    given, url = settings.SIGNAL_TASKS, settings.CELERY_BROKER_URL
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    settings.SIGNAL_TASKS = {**given, "BREAKER_SECONDS": "not a number"}
    publisher.submit(request("lost"))
    thread = the_thread()
    assert publisher.flush(5)
    settings.CELERY_BROKER_URL, settings.SIGNAL_TASKS = url, given
    publisher.submit(request("one"))
    assert publisher.flush(5)
    assert thread.is_alive()
    assert ids_received() == ["one"]


@pytest.fixture
def queries() -> Iterator[list[Any]]:
    """Have Celery call a listener that asks the database before each message.

    Its connection is lost after the first one. Gives the connection of each query.
    """
    used: list[Any] = []

    def ask(**_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        used.append(connections["default"])
        if len(used) == 1:
            connection.connection.close()  # as the server does

    before_task_publish.connect(ask)
    yield used
    before_task_publish.disconnect(ask)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_receiver")
def test_a_listener_of_the_project_has_a_new_connection_after_a_loss(
    publisher: Publisher, queries: list[Any]
) -> None:
    for key in ("one", "two", "three"):
        publisher.submit(request(key))
        assert publisher.flush(5)
    assert len(queries) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_receiver")
def test_no_connection_of_the_projects_own_is_left_open(
    publisher: Publisher, queries: list[Any]
) -> None:
    connection.ensure_connection()
    for key in ("one", "two"):
        publisher.submit(request(key))
        assert publisher.flush(5)
    assert [each.connection for each in queries] == [None, None]
    assert connection.connection is not None  # that of the thread of the test
