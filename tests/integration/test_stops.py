"""Deliveries whose worker is asked to stop are released."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from signal_tasks import AsyncSignal
from signal_tasks.models import Attempt, Delivery
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    is_alive,
    keys,
    runs,
    runs_of,
    states,
)
from tests.testapp.signals import awaited, inside, outside

BOTH = pytest.mark.parametrize("sent", [inside, outside], ids=["inside", "outside"])
SOFT = {"WORKER_SOFT_SHUTDOWN_TIMEOUT": 0.5}
Stop = Callable[[CeleryWorker], None]


def quit_softly(worker: CeleryWorker) -> None:
    worker.send(signal.SIGQUIT)


def terminate(worker: CeleryWorker) -> None:
    worker.send(signal.SIGTERM)


def terminate_group(worker: CeleryWorker) -> None:
    worker.send_all(signal.SIGTERM)


STOPS = pytest.mark.parametrize(
    ("stop", "env"),
    [
        pytest.param(quit_softly, {"CELERY": SOFT}, id="soft"),
        pytest.param(
            terminate, {"CELERY": SOFT, "REMAP_SIGTERM": "SIGQUIT"}, id="remapped"
        ),
        pytest.param(terminate_group, {}, id="systemd"),
        pytest.param(
            terminate_group,
            {"CELERY": SOFT, "REMAP_SIGTERM": "SIGQUIT"},
            id="systemd-remapped",
        ),
    ],
)


@STOPS
@BOTH
def test_what_was_running_is_released_without_an_attempt(
    sent: AsyncSignal, stop: Stop, env: dict[str, object], start_worker: StartWorker
) -> None:
    worker = start_worker(**env)
    sent.send(sender=None, key="s", task="nap", seconds=20)
    (run,) = eventually(runs)
    stop(worker)
    worker.wait()
    assert not is_alive(run.pid)
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("pending", 0)
    assert not Attempt.objects.exists()
    assert effects("inside") == []


@BOTH
def test_what_was_released_is_finished_by_the_next_worker(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    first = start_worker(CELERY=SOFT)
    with transaction.atomic():
        for number in range(40):
            sent.send(sender=None, key=number, task="nap", seconds=0.05)
    eventually(lambda: len(runs()) > 3)
    first.send(signal.SIGQUIT)
    start_worker()
    first.wait()
    eventually(all_finished)
    assert states() == {"succeeded": 40}
    assert Delivery.objects.filter(attempts=1).count() == 40
    if sent is inside:
        assert effects("inside") == keys(40)
    assert set(effects(sent.name.rpartition(".")[2])) == set(keys(40))


def test_a_warm_stop_lets_receivers_finish(start_worker: StartWorker) -> None:
    worker = start_worker()
    inside.send(sender=None, key="warm", task="nap", seconds=1)
    eventually(runs)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert (effects("inside"), states()) == (["warm"], {"succeeded": 1})


@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")
@BOTH
def test_a_stop_in_the_middle_of_a_statement_releases(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    worker = start_worker(CELERY=SOFT)
    sent.send(sender=None, key="s", task="doze", seconds=5)
    eventually(runs)
    worker.send(signal.SIGQUIT)
    worker.wait()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("pending", 0)


@pytest.mark.parametrize(
    ("pool", "number", "sent"),
    [
        ("threads", signal.SIGTERM, inside),
        ("threads", signal.SIGQUIT, outside),
        ("solo", signal.SIGTERM, outside),
        ("solo", signal.SIGQUIT, inside),
    ],
    ids=["threads-warm", "threads-cold", "solo-warm", "solo-cold"],
)
def test_pools_without_processes_release_what_they_do_not_finish(
    pool: str, number: signal.Signals, sent: AsyncSignal, start_worker: StartWorker
) -> None:
    with transaction.atomic():
        for key in range(6):
            sent.send(sender=None, key=key, task="nap", seconds=0.4)
    worker = start_worker("--pool", pool, "-c", "1", ready=False, CELERY=SOFT)
    eventually(runs)
    worker.send(number)
    worker.wait()
    assert Delivery.objects.filter(state="pending", attempts=0).count() >= 3
    assert not Delivery.objects.filter(state="running").exists()
    start_worker("--pool", pool)
    eventually(all_finished)
    assert states() == {"succeeded": 6}
    assert Delivery.objects.filter(attempts=1).count() == 6
    assert not Attempt.objects.exists()
    if (
        pool == "threads" or number == signal.SIGTERM
    ):  # these let the running one finish
        assert {runs_of(key) for key in range(6)} == {1}
    if sent is inside:
        assert effects("inside") == keys(6)


def test_an_async_receiver_is_released_too(start_worker: StartWorker) -> None:
    worker = start_worker(CELERY=SOFT)
    awaited.send(sender=None, key="a", seconds=1.5)
    eventually(runs)
    start = time.monotonic()
    worker.send(signal.SIGQUIT)
    worker.wait()
    assert time.monotonic() - start < 5
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("pending", 0)
    assert effects("async") == []


def test_a_second_stop_signal_does_no_harm(start_worker: StartWorker) -> None:
    worker = start_worker(CELERY=SOFT)
    inside.send(sender=None, key="s", task="nap", seconds=20)
    eventually(runs)
    worker.send_all(signal.SIGTERM)
    worker.send_all(signal.SIGTERM)
    worker.wait()
    assert Delivery.objects.get().attempts == 0


def test_an_idle_worker_stops_at_once(start_worker: StartWorker) -> None:
    worker = start_worker()
    inside.send(sender=None, key="i")
    eventually(all_finished)
    worker.send_all(signal.SIGTERM)
    worker.wait(8)
