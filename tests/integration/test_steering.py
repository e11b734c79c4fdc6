"""Pauses are honoured by every worker and relay of every host, within five seconds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery, HeldDelivery
from signal_tasks.operations import pause, resume
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    all_finished,
    effects,
    eventually,
    keys,
    runs,
    states,
)
from tests.testapp.receivers import work_inside, work_outside
from tests.testapp.signals import inside, outside

#: How soon a pause, or a resume, is honoured (seconds).
SOON = 5.0


class Sender:
    """Sends an event every few milliseconds, until it is stopped."""

    def __init__(self, signal: AsyncSignal, every: float) -> None:
        self._signal, self._every = signal, every
        self._stop = Event()
        self._thread = Thread(target=self._run)
        self.sent = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._every):
                self._signal.send(sender=None, key=self.sent)
                self.sent += 1
        finally:
            connection.close()


@pytest.fixture
def sending(transactional_db: None) -> Iterator[Callable[..., Sender]]:
    """Send steadily, until the end of the test."""
    senders: list[Sender] = []

    def send(signal: AsyncSignal, every: float = 0.02) -> Sender:
        senders.append(Sender(signal, every))
        senders[-1].start()
        return senders[-1]

    yield send
    for each in senders:
        each.stop()


@pytest.fixture
def hosts(start_worker: StartWorker) -> None:
    """Start a worker on each of two hosts, by their names."""
    start_worker("-n", "one@host-a", ready=False)
    start_worker("-n", "two@host-b")


def last_start() -> float:
    return max((run.at for run in runs()), default=0.0)


def first_start_after(moment: float) -> float | None:
    return min((run.at for run in runs() if run.at > moment), default=None)


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("target", ["*", outside])
def test_two_workers_on_two_hosts_stop_and_start_within_five_seconds(
    target: object, sending: Any
) -> None:
    sender = sending(outside)
    eventually(lambda: len({run.pid for run in runs()}) >= 2)
    paused_at = time.time()
    pause(target)
    eventually(lambda: time.time() > paused_at + SOON + 1 and sender.sent > 100)
    assert last_start() < paused_at + SOON
    waiting = Delivery.objects.filter(state="pending").values_list(
        "attempts", flat=True
    )
    assert set(waiting) == {0}
    sender.stop()
    resumed_at = time.time()
    resume(target)
    first = eventually(lambda: first_start_after(resumed_at))
    assert first < resumed_at + SOON
    eventually(all_finished)
    assert effects("outside") == keys(sender.sent)
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}
    eventually(lambda: not HeldDelivery.objects.exists())


@pytest.mark.usefixtures("hosts")
def test_what_runs_when_it_is_paused_finishes_and_others_go_on(sending: Any) -> None:
    outside.send(sender=None, key=0, task="nap", seconds=SOON)
    eventually(lambda: runs("outside"))
    pause(work_outside)
    outside.send(sender=None, key=1)
    sender = sending(inside)
    eventually(lambda: effects("inside"))
    eventually(lambda: states().get("pending") and HeldDelivery.objects.exists())
    done = Delivery.objects.filter(receiver__endswith=work_outside.__name__)
    eventually(lambda: done.filter(state="succeeded").exists())
    assert effects("outside") == ["0"]
    sender.stop()
    eventually(lambda: effects("inside") == keys(sender.sent))
    resume(work_outside)
    eventually(lambda: effects("outside") == ["0", "1"], seconds=SOON)


@pytest.mark.usefixtures("hosts")
def test_a_pause_that_expires_ends_by_itself(sending: Any) -> None:
    pause(work_inside, until=timedelta(seconds=4))
    begun = time.time()
    for key in range(50):
        inside.send(sender=None, key=key)
    eventually(all_finished)
    assert last_start() > begun + 3.5
    assert effects("inside") == keys(50)


@pytest.mark.usefixtures("hosts")
def test_resuming_over_and_over_loses_and_doubles_nothing(sending: Any) -> None:
    sender = sending(inside, every=0.005)
    for number in itertools.count():
        pause(work_inside)
        eventually(lambda: HeldDelivery.objects.exists())
        resume(work_inside)
        if number == 5:
            break
        eventually(partial(first_start_after, time.time()))
    sender.stop()
    eventually(all_finished)
    assert effects("inside") == keys(sender.sent)
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}
