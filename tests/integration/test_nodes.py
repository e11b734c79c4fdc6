"""Two workers with host names of their own, on one broker and one database."""

from __future__ import annotations

from signal_tasks import health
from signal_tasks.models import Worker
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    keys,
    runs,
)
from tests.testapp.signals import happened

EVENTS = 400
NODES = ["worker@left", "worker@right"]


def start(start_worker: StartWorker) -> list[CeleryWorker]:
    """Start a worker on each node."""
    return [start_worker("-n", node, TEST_LEASE="3") for node in NODES]


def send(first: int, number: int) -> None:
    items = [{"key": key} for key in range(first, first + number)]
    happened.send_many(sender=None, items=items)


def test_two_nodes_share_the_work_and_both_are_seen(start_worker: StartWorker) -> None:
    nodes = start(start_worker)
    eventually(lambda: Worker.objects.count() == len(NODES))
    send(0, EVENTS)
    eventually(all_finished, seconds=120)
    assert effects("atomic") == effects("outside") == keys(EVENTS)
    at_work = {run.pid for run in runs()}
    assert all(at_work & set(node.children()) for node in nodes)
    assert health()["workers"] == NODES


def test_one_node_goes_on_without_the_other(start_worker: StartWorker) -> None:
    left, right = start(start_worker)
    send(0, EVENTS)
    eventually(lambda: len(runs()) > EVENTS / 4)
    left.kill()
    send(EVENTS, EVENTS)
    eventually(all_finished, seconds=120)
    assert right.is_running()
    assert effects("atomic") == keys(2 * EVENTS)
    assert set(effects("outside")) == set(keys(2 * EVENTS))
