"""What a worker held that no longer reports is released before its lease is over."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from signal_tasks import AsyncSignal
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.models import Delivery, Worker
from signal_tasks.relay.heartbeat import (
    Heartbeat,
    Watch,
    expire_leases_of_silent_workers,
)
from signal_tasks.relay.recovery import recover
from signal_tasks.states import State
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.relay.steps import only, pending

pytestmark = pytest.mark.django_db

#: The moments of a relay's looks, three seconds apart (the default interval).
TEN_SECONDS = (0, 3, 6, 9, 12)


@pytest.fixture
def me() -> Heartbeat:
    return Heartbeat("celery@me")


@pytest.fixture
def worker() -> Worker:
    return Worker.objects.create(name="celery@other")


def looks(
    watch: Watch, me: Heartbeat, moments: Iterable[float], alive: Worker | None = None
) -> int:
    """Look at these moments; return how many leases were let end.

    ``alive`` reports before each look.
    """
    expired = 0
    for now in moments:
        me.report("default")
        if alive is not None:
            Worker.objects.filter(pk=alive.pk).update(seen_at=DatabaseNow())
        expired += expire_leases_of_silent_workers("default", watch, me, now=now)
    return expired


def held_by(worker: Worker, signal: AsyncSignal, number: int = 1) -> list[uuid.UUID]:
    """Claim deliveries, as a pool process of this worker does."""
    handles = pending(signal, number)
    ids = [handle.id for handle in handles]
    names = [handles[0].receiver]
    claimed = Delivery.objects.claim(ids, names=names, lease=600, worker=worker.pk)
    assert len(claimed) == number
    return ids


@contextmanager
def locked_elsewhere(pk: uuid.UUID) -> Iterator[None]:
    """Lock a delivery in a transaction of another thread."""
    locked, done = threading.Event(), threading.Event()

    def lock() -> None:
        try:
            with transaction.atomic():
                Delivery.objects.select_for_update().get(pk=pk)
                locked.set()
                done.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=lock)
    thread.start()
    assert locked.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join(30)


def test_what_a_silent_worker_held_is_released_within_seconds(
    signal: AsyncSignal, me: Heartbeat, worker: Worker
) -> None:
    listen(signal)
    held_by(worker, signal, 5)
    watch = Watch()
    assert looks(watch, me, TEN_SECONDS[:-1]) == 0
    assert looks(watch, me, TEN_SECONDS[-1:]) == 5
    assert recover("default") == 5
    rows = Delivery.objects.values_list("state", "attempts", "isolated")
    assert set(rows) == {("pending", 0, True)}
    assert not Worker.objects.filter(pk=worker.pk).exists()


def test_a_worker_that_reports_keeps_what_it_holds(
    signal: AsyncSignal, me: Heartbeat, worker: Worker
) -> None:
    listen(signal)
    held_by(worker, signal)
    assert looks(Watch(), me, range(0, 60, 3), alive=worker) == 0
    assert only().state == "running"


def test_nobody_is_gone_after_a_pause_of_the_relay_or_an_outage_of_the_database(
    signal: AsyncSignal, me: Heartbeat, worker: Worker
) -> None:
    listen(signal)
    held_by(worker, signal)
    watch = Watch()
    assert looks(watch, me, (0, 3, 6)) == 0
    assert looks(watch, me, (60, 63, 66, 69)) == 0
    assert looks(watch, me, (72,)) == 1


def test_a_worker_that_is_missed_is_looked_for_in_each_pass(
    me: Heartbeat, worker: Worker
) -> None:
    watch = Watch()
    missed = []
    for now in (0, 3, 6, 7):
        looks(watch, me, (now,))
        missed.append(watch.misses_somebody)
    looks(watch, me, (8,), alive=worker)
    assert (missed, watch.misses_somebody) == ([False, False, True, True], False)


def test_a_relay_that_has_just_started_watches_first(
    signal: AsyncSignal, me: Heartbeat, worker: Worker
) -> None:
    listen(signal)
    held_by(worker, signal)
    Worker.objects.update(seen_at="2020-01-01T00:00:00Z")
    assert looks(Watch(), me, (1000.0,)) == 0


def test_a_worker_started_again_releases_what_its_predecessor_held(
    signal: AsyncSignal, me: Heartbeat
) -> None:
    listen(signal)
    predecessor = Worker.objects.create(name=me.name)
    held_by(predecessor, signal)
    assert looks(Watch(), me, TEN_SECONDS[:-1]) == 1
    assert [row.pk for row in Worker.objects.all()] == [me.id]


def test_a_worker_that_stops_in_a_deploy_is_not_taken_for_a_predecessor_that_died(
    signal: AsyncSignal, me: Heartbeat
) -> None:
    listen(signal)
    stopping = Worker.objects.create(name=me.name)
    held_by(stopping, signal)
    assert looks(Watch(), me, range(0, 60, 3), alive=stopping) == 0
    assert only().state == "running"


def test_several_relays_release_what_a_worker_held_once(
    signal: AsyncSignal, me: Heartbeat, worker: Worker
) -> None:
    listen(signal)
    held_by(worker, signal)
    mine, others = Watch(), Watch()
    assert looks(mine, me, TEN_SECONDS[:-1]) == 0
    assert looks(others, Heartbeat("celery@third"), TEN_SECONDS[:-1]) == 0
    assert looks(others, Heartbeat("celery@third"), TEN_SECONDS[-1:]) == 1
    assert looks(mine, me, TEN_SECONDS[-1:]) == 0


def test_the_leases_of_others_stay(
    signal: AsyncSignal, me: Heartbeat, worker: Worker
) -> None:
    listen(signal)
    (lost,) = held_by(worker, signal)
    alive = Worker.objects.create(name="celery@alive")
    held_by(alive, signal, 2)
    (handle,) = pending(signal)
    assert Delivery.objects.claim([handle.id], names=[handle.receiver], lease=600)
    assert looks(Watch(), me, TEN_SECONDS, alive=alive) == 1
    assert recover("default") == 1
    released = Delivery.objects.filter(state="pending")
    assert [row.pk for row in released] == [lost]


def test_a_worker_that_was_only_paused_is_fenced(
    signal: AsyncSignal, me: Heartbeat, worker: Worker
) -> None:
    listen(signal)
    ids = held_by(worker, signal)
    lease = only().lease
    looks(Watch(), me, TEN_SECONDS)
    recover("default")
    assert Delivery.objects.finish(ids, lease, State.SUCCEEDED) == 0
    assert only().state == "pending"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="locks the whole database")
def test_a_delivery_that_its_worker_has_locked_is_left_to_its_lease(
    signal: AsyncSignal, me: Heartbeat, worker: Worker
) -> None:
    listen(signal)
    locked, free = held_by(worker, signal, 2)
    watch = Watch()
    looks(watch, me, TEN_SECONDS[:-1])
    with locked_elsewhere(locked):
        assert looks(watch, me, TEN_SECONDS[-1:]) == 1
    assert recover("default") == 1
    assert Delivery.objects.get(pk=free).state == "pending"
    assert Delivery.objects.get(pk=locked).state == "running"
