"""Many events: they are delivered in good time, in few messages, without growing."""

from __future__ import annotations

import time
from pathlib import Path

from signal_tasks.models import Delivery
from tests.integration.conftest import StartWorker
from tests.integration.workers import CeleryWorker, all_finished, eventually, states
from tests.testapp.models import Effect
from tests.testapp.signals import happened

EVENTS = 2000
#: After so many events, a worker has loaded all that it needs.
WARM_UP = 600
#: Far more than is needed, far less than with a message for each delivery.
SECONDS = 90


def send(number: int) -> None:
    happened.send_many(sender=None, items=[{"key": key} for key in range(number)])


def megabytes(worker: CeleryWorker) -> float:
    """Return the memory that the processes of a worker do not share."""
    total = 0
    for pid in [worker.pid, *worker.children()]:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1])
    return total / 1024


def test_thousands_of_events_drain_in_seconds_and_leave_no_memory_behind(
    start_worker: StartWorker,
) -> None:
    worker = start_worker("-c", "1")  # of two processes, one might warm up too late
    send(WARM_UP)
    eventually(all_finished, seconds=SECONDS)
    before = megabytes(worker)
    start = time.monotonic()
    send(EVENTS)
    eventually(all_finished, seconds=SECONDS)
    took = time.monotonic() - start
    print(f"{2 * EVENTS / took:.0f} deliveries per second, sending included")
    print(f"{before:.0f} MB, then {megabytes(worker):.0f} MB")
    assert states() == {"succeeded": 2 * (EVENTS + WARM_UP)}
    assert Effect.objects.count() == 2 * (EVENTS + WARM_UP)
    assert Delivery.objects.exclude(attempts=1).count() == 0
    assert worker.output.count(" received") < 2 * EVENTS / 10
    assert megabytes(worker) - before < 20
