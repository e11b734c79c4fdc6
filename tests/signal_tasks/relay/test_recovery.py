"""The relay makes deliveries of lost workers pending again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.db.complete import complete
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.relay.recovery import recover
from signal_tasks.relay.relay import Relay
from signal_tasks.states import Reason, State
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.relay.steps import (
    lose,
    only,
    pass_time,
    pending,
    received,
    run_pass,
    wait,
)

pytestmark = pytest.mark.django_db


def test_a_delivery_that_was_lost_while_isolated_has_spent_its_attempt(
    signal: AsyncSignal,
) -> None:
    listen(signal, retry=RetryPolicy(max_attempts=2, backoff=50, jitter=False))
    (handle,) = pending(signal)
    lose(handle)
    assert recover("default") == 1
    handle.refresh()
    assert (handle.state, handle.attempts) == ("pending", 1)
    assert only().isolated is True
    assert wait() == pytest.approx(50, abs=3)
    attempt = Attempt.objects.get()
    assert (attempt.error_type, attempt.number) == ("WorkerLost", 1)


def test_it_is_dead_when_its_attempts_are_spent(signal: AsyncSignal) -> None:
    listen(signal, retry=RetryPolicy(max_attempts=2, backoff=0))
    (handle,) = pending(signal)
    for _ in range(2):
        lose(handle)
        recover("default")
    handle.refresh()
    assert (handle.state, handle.reason, handle.attempts) == ("dead", "lost", 2)
    assert [a.consequence for a in Attempt.objects.all()] == ["retried", "dead"]


def test_deliveries_that_were_lost_together_lose_no_attempt(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    handles = pending(signal, 3)
    lose(*handles)
    assert recover("default") == 3
    for handle in handles:
        assert (handle.refresh().state, handle.attempts) == ("pending", 0)
    assert Delivery.objects.filter(isolated=True).count() == 3


def test_they_are_published_one_to_a_message_and_claimed_isolated(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.suspects")
    handles = pending(signal, 3)
    lose(*handles)
    run_pass(relay)
    pass_time()
    run_pass(relay)
    assert {len(message.ids) for message in received()} == {1}
    ids = [handle.id for handle in handles]
    rows = Delivery.objects.all()
    assert rows.claim(ids, names=["t.suspects"], lease=60) == []
    assert len(rows.claim(ids[:1], names=["t.suspects"], lease=60)) == 1


def test_a_lease_that_is_not_over_is_respected(signal: AsyncSignal) -> None:
    listen(signal, name="t.at_work")
    (handle,) = pending(signal)
    Delivery.objects.claim([handle.id], names=["t.at_work"], lease=60)
    assert recover("default") == 0
    assert handle.refresh().state == "running"


def test_a_worker_that_comes_back_after_its_lease_finds_it_claimed(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.late")
    (handle,) = pending(signal)
    rows = Delivery.objects.all()
    (mine,) = rows.claim([handle.id], names=["t.late"], lease=60)
    pass_time()
    recover("default")
    Delivery.objects.update(available_at=F("available_at") - timedelta(hours=1))
    (theirs,) = rows.claim([handle.id], names=["t.late"], lease=60)
    assert complete([mine.id], lease=mine.lease, database="default") == 0
    assert complete([theirs.id], lease=theirs.lease, database="default") == 1


def test_a_delivery_without_a_known_receiver_is_recovered_too(
    signal: AsyncSignal,
) -> None:
    def gone(sender: object, **kwargs: Any) -> None: ...

    signal.connect(gone, name="t.gone")
    (handle,) = pending(signal)
    lose(handle)
    signal.disconnect(gone)
    recover("default")
    assert handle.refresh().state == "pending"


def crash(handle: Any) -> str:
    """Lose its worker while it runs isolated; return the state that follows."""
    lose(handle)
    recover("default")
    return str(handle.refresh().state)


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_a_replay_gets_all_its_attempts_again(
    attempts: int, signal: AsyncSignal
) -> None:
    listen(signal, retry=RetryPolicy(max_attempts=attempts, backoff=0))
    (handle,) = pending(signal)
    expected = ["pending"] * (attempts - 1) + ["dead"]
    for _ in range(3):
        assert [crash(handle) for _ in range(attempts)] == expected
        assert (handle.reason, handle.attempts) == ("lost", attempts)
        Delivery.objects.all().replay()


def test_what_was_lost_among_others_before_a_replay_does_not_count_after_it(
    signal: AsyncSignal,
) -> None:
    listen(signal, retry=RetryPolicy(max_attempts=2, backoff=0))
    handle, another = pending(signal, 2)
    lose(handle, another)
    recover("default")
    assert crash(handle) == "dead"  # it pays for both times
    Delivery.objects.filter(pk=handle.id).replay()
    assert [crash(handle), crash(handle)] == ["pending", "dead"]
    assert handle.attempts == 2


def test_a_lost_attempt_is_the_last_one_of_an_old_event(signal: AsyncSignal) -> None:
    policy = RetryPolicy(max_attempts=9, backoff=0, give_up_after=3600)
    listen(signal, retry=policy)
    (handle,) = pending(signal)
    assert crash(handle) == "pending"
    Event.objects.update(sent_at=F("sent_at") - timedelta(hours=2))
    assert crash(handle) == "dead"
    assert (handle.reason, handle.attempts) == ("lost", 2)
    Delivery.objects.all().replay()
    assert crash(handle) == "dead"
    assert handle.attempts == 1


def test_what_is_lost_among_others_is_run_isolated_however_old_its_event_is(
    signal: AsyncSignal,
) -> None:
    """Perhaps it has never begun."""
    listen(signal, retry=RetryPolicy(give_up_after=3600))
    handles = pending(signal, 2)
    Event.objects.update(sent_at=F("sent_at") - timedelta(hours=2))
    lose(*handles)
    recover("default")
    assert [each.refresh().state for each in handles] == ["pending", "pending"]


def test_recovery_is_fenced_too(signal: AsyncSignal) -> None:
    """Between the look at the row and the write, another worker has claimed it."""
    listen(signal)
    (handle,) = pending(signal)
    lose(handle)
    (lost,) = Delivery.objects.expired_leases(10)
    Delivery.objects.update(lease=lost.lease + 1)
    rows = Delivery.objects.all()
    assert rows.release([lost.pk], lost.lease, isolated=True) == 0
    assert rows.count_attempt([lost.pk], lost.lease) == 0
    assert rows.schedule_retry([lost.pk], lost.lease, delay=0) == 0
    assert rows.finish([lost.pk], lost.lease, State.DEAD, Reason.LOST) == 0
