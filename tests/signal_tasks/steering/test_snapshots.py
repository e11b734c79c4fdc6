"""Snapshots: how old they get, and where nothing is in force."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Control, Delivery
from signal_tasks.operations import pause, resume
from signal_tasks.steering.snapshot import FRESH, MAX_AGE, fresh, snapshot
from signal_tasks.testing import run_pending
from tests.integration.workers import eventually
from tests.signal_tasks.conftest import listen


def pause_elsewhere() -> None:
    """Pause as another process does, of which this one is not told."""
    Control.objects.create(kind="pause", target="*")


@pytest.mark.django_db(transaction=True)
def test_a_pause_of_another_process_is_seen_within_two_seconds() -> None:
    assert snapshot("default").is_empty
    pause_elsewhere()
    eventually(lambda: snapshot("default").pauses, seconds=MAX_AGE + 1)


@pytest.mark.django_db(transaction=True)
def test_what_is_known_is_not_read_again() -> None:
    first = snapshot("default", max_age=60)
    with CaptureQueriesContext(connection) as queries:
        assert snapshot("default", max_age=60) is first
    assert not queries.captured_queries


@pytest.mark.django_db(transaction=True)
def test_before_something_is_held_it_is_asked_once_more(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker would hold again what relays release after a ``resume``."""
    monkeypatch.setattr("signal_tasks.steering.snapshot.MAX_AGE", 60.0)
    calls = listen(signal, name="t.steered")
    handle = signal.send(sender=None)[0][1]
    pause_elsewhere()
    assert snapshot("default", max_age=0).pauses
    Control.objects.all().delete()  # as another process resumes it
    time.sleep(FRESH)  # that long, it believes what it has seen
    process_message("t.steered", [str(handle.id)], "default")
    assert len(calls) == 1


@pytest.mark.django_db(transaction=True)
def test_a_pause_by_this_process_is_seen_at_once() -> None:
    assert snapshot("default").is_empty
    pause("*")
    assert snapshot("default").pauses
    resume("*")
    assert not snapshot("default").pauses


@pytest.mark.django_db(transaction=True)
def test_a_pause_is_seen_when_it_is_committed() -> None:
    with transaction.atomic():
        pause("*")
        assert not snapshot("default").pauses
    assert snapshot("default").pauses


@pytest.mark.django_db
class TestInsideOfATransaction:
    """As in a plain ``TestCase``, and in an eager task."""

    def test_nothing_is_in_force_and_nothing_is_read(self) -> None:
        pause("*")
        with CaptureQueriesContext(connection) as queries:
            assert snapshot("default").is_empty
        assert not queries.captured_queries

    def test_a_block_that_looks_for_itself_sees_what_is_in_force(self) -> None:
        pause("*")
        with fresh():
            assert "*" in snapshot("default").pauses
        assert snapshot("default").is_empty

    def test_run_pending_leaves_out_what_is_paused(self, signal: AsyncSignal) -> None:
        calls, free = listen(signal, name="t.steered"), listen(signal, name="t.free")
        signal.send(sender=None)
        pause("t.steered")
        (ran,) = run_pending()
        assert ran.receiver == "t.free"
        assert (calls, len(free)) == ([], 1)
        resume("t.steered")
        run_pending()
        assert len(calls) == 1

    def test_run_pending_leaves_out_the_events_of_a_paused_signal(
        self, signal: AsyncSignal
    ) -> None:
        listen(signal)
        signal.send(sender=None)
        pause(signal)
        assert run_pending() == []
        assert Delivery.objects.get().state == "pending"

    def test_eager_tasks_run_what_is_paused(
        self,
        signal: AsyncSignal,
        settings: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        settings.CELERY_TASK_ALWAYS_EAGER = True
        calls = listen(signal)
        pause(signal)
        with django_capture_on_commit_callbacks(execute=True):
            signal.send(sender=None)
        assert len(calls) == 1
