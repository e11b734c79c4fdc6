"""Events and deliveries that are kept for long enough are deleted."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from signal_tasks import AsyncSignal, RetryPolicy, health, operations
from signal_tasks.db.sql import seeing_commits
from signal_tasks.models import Attempt, AuditEntry, Delivery, Event, Worker
from signal_tasks.relay import pruning
from signal_tasks.relay.pruning import prune, prune_batch
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.relay.steps import pending, run_pass

pytestmark = pytest.mark.django_db


@pytest.fixture
def _kept_for_a_day(settings: Any) -> None:
    day = timedelta(days=1)
    keep = {f"KEEP_{state}": day for state in ("SUCCEEDED", "DISCARDED", "DEAD")}
    settings.SIGNAL_TASKS = {"DATABASES": ["default"], **keep}


def finished(signal: AsyncSignal, *states: str) -> None:
    """Send one event for each state, whose delivery finished in it long ago."""
    for state in states:
        handle = signal.send(sender=None)[0][1]
        finish(Delivery.objects.filter(pk=handle.id), state)
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))


@pytest.mark.usefixtures("_kept_for_a_day")
def test_what_finished_long_ago_is_deleted_with_its_event(signal: AsyncSignal) -> None:
    listen(signal)
    finished(signal, "succeeded", "discarded", "dead")
    pending(signal)
    assert prune("default") == 3
    assert Delivery.objects.get().state == "pending"
    assert Event.objects.count() == 1


@pytest.mark.usefixtures("_kept_for_a_day")
def test_what_finished_lately_is_kept(signal: AsyncSignal) -> None:
    listen(signal)
    finished(signal, "succeeded")
    Delivery.objects.update(finished_at=F("finished_at") + timedelta(days=1.5))
    assert prune("default") == 0


@pytest.mark.usefixtures("_kept_for_a_day")
def test_an_event_stays_until_its_last_delivery_goes(signal: AsyncSignal) -> None:
    listen(signal, name="t.done")
    listen(signal, name="t.not_done")
    signal.send(sender=None)
    finish(Delivery.objects.filter(receiver="t.done"), "succeeded")
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    assert prune("default") == 1
    assert Event.objects.count() == 1
    finish(Delivery.objects.filter(receiver="t.not_done"), "succeeded")
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    assert prune("default") == 1
    assert Event.objects.count() == 0


def test_dead_letters_stay_acknowledged_when_the_trail_is_pruned(
    signal: AsyncSignal, settings: Any
) -> None:
    Worker.objects.create(name="celery@here", queues="tests")
    listen(signal)
    finished(signal, "dead")
    for _ in range(2):
        operations.acknowledge(by="ada")
    long_ago = timedelta(days=400)
    Delivery.objects.update(finished_at=F("finished_at") - long_ago)
    AuditEntry.objects.update(at=F("at") - long_ago)
    prune("default")
    assert health()["problems"] == []
    assert AuditEntry.objects.count() == 1
    operations.acknowledge(by="ada")
    prune("default")
    assert AuditEntry.objects.count() == 1


@pytest.mark.usefixtures("_kept_for_a_day")
def test_failed_attempts_go_with_their_delivery(signal: AsyncSignal) -> None:
    def fail(sender: object, **kwargs: Any) -> None:
        raise ValueError

    signal.connect(fail, name="t.pruned_failure", retry=RetryPolicy(max_attempts=1))
    signal.send(sender=None)
    run_pending()
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    assert prune("default") == 1
    assert not Attempt.objects.exists()


def test_by_default_the_dead_are_kept_for_ever(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": ["default"]}
    listen(signal)
    finished(signal, "succeeded", "discarded", "dead")
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=4000))
    assert prune("default") == 2
    assert Delivery.objects.get().state == "dead"


@pytest.mark.usefixtures("_kept_for_a_day")
def test_much_is_pruned_in_small_batches(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 3)
    listen(signal)
    finished(signal, *["succeeded"] * 10, "dead")
    assert [prune_batch("default"), prune_batch("default")] == [3, 3]
    assert prune("default") == 5
    assert not Event.objects.exists()


@pytest.mark.usefixtures("_kept_for_a_day")
def test_a_pass_prunes_one_batch_and_the_next_goes_on(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 3)
    monkeypatch.setattr(pruning, "SHARE", 1.0)  # the next comes without a rest
    listen(signal)
    finished(signal, *["succeeded"] * 4)
    assert [run_pass(relay).pruned, run_pass(relay).pruned] == [3, 1]


@pytest.mark.usefixtures("_kept_for_a_day")
def test_after_a_full_batch_the_relay_rests_from_pruning(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 3)
    monkeypatch.setattr(pruning, "SHARE", 1e-6)
    listen(signal)
    finished(signal, *["succeeded"] * 4)
    assert [run_pass(relay).pruned, run_pass(relay).pruned] == [3, 0]


several_writers = pytest.mark.skipif(
    not connection.features.has_select_for_update, reason="one writer at a time"
)


@pytest.mark.django_db(transaction=True)
@several_writers
@pytest.mark.usefixtures("_kept_for_a_day")
def test_two_that_prune_an_event_together_leave_nothing_of_it(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prune_together(signal, monkeypatch)


@pytest.mark.django_db(transaction=True)
@several_writers
@pytest.mark.usefixtures("_kept_for_a_day", "repeatable_read")
def test_nor_where_transactions_see_nothing_that_commits_after_they_began(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prune_together(signal, monkeypatch)


def _prune_together(signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH", 1)
    listen(signal)
    listen(signal)
    signal.send(sender=None)
    finish(Delivery.objects.all(), "succeeded")
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    other = Thread(target=_prune_elsewhere)
    with seeing_commits("default"):
        assert prune_batch("default") == 1
        other.start()
        other.join(0.5)  # it waits for this transaction
    other.join(10)
    assert not Delivery.objects.exists()
    assert not Event.objects.exists()


def _prune_elsewhere() -> None:
    try:
        prune_batch("default")
    finally:
        connection.close()


@pytest.mark.usefixtures("_kept_for_a_day")
def test_the_relay_prunes(signal: AsyncSignal, relay: Relay) -> None:
    listen(signal)
    finished(signal, "succeeded")
    assert run_pass(relay).pruned == 1
