"""A process publishes what it sends, however it was made and however it ends.

The worker runs no relay, so what a process does not publish is never delivered.
"""

from __future__ import annotations

import pytest

from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    python,
)
from tests.servers import RedisServer
from tests.testapp.signals import chained

SEND = """
import os, sys, time
from django.db import connections
from tests.testapp.signals import happened

def send(key):
    happened.send(sender=None, key=key)
    connections.close_all()  # as a server does before it forks, and after a request

def wait_for(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
FORK = """
from signal_tasks.broker.publisher import publisher
for milliseconds in (0, 1, 2, 5, 10, 20, 50, 100, 200):
    send(f"parent{milliseconds}") if milliseconds == 0 else None
    time.sleep(milliseconds / 1000)
    if not (pid := os.fork()):
        send(f"child{milliseconds}")
        os._exit(0 if publisher.flush(10) else 1)
    children = [*globals().get("children", []), pid]
for pid in children:
    wait_for(pid)
"""
FORK_IN_C = """
import ctypes
from signal_tasks.broker.publisher import publisher
send("parent")
publisher.flush(10)
if not (pid := ctypes.CDLL(None).fork()):  # as uWSGI does: Python is not told
    send("child")
    os._exit(0 if publisher.flush(10) else 1)
wait_for(pid)
"""
MULTIPROCESSING = """
import multiprocessing
child = multiprocessing.get_context("fork").Process(target=send, args=("child",))
child.start()
child.join()
"""
EXECUTOR = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
context = multiprocessing.get_context("fork")
with ProcessPoolExecutor(2, mp_context=context) as pool:
    list(pool.map(send, ["one", "two", "three"]))
"""
BILLIARD = """
import billiard
child = billiard.Process(target=send, args=("child",))
child.start()
child.join()
"""


@pytest.fixture
def worker(redis: RedisServer, start_worker: StartWorker) -> CeleryWorker:
    return start_worker(SIGNAL_TASKS={"RELAY_IN_WORKER": False})


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("code", "keys"),
    [
        (FORK, ["parent0", *(f"child{n}" for n in (0, 1, 2, 5, 10, 20, 50, 100, 200))]),
        (FORK_IN_C, ["parent", "child"]),
        (MULTIPROCESSING, ["child"]),
        (EXECUTOR, ["one", "two", "three"]),
        (BILLIARD, ["child"]),
    ],
    ids=["fork", "fork in C", "multiprocessing", "executor", "billiard"],
)
def test_a_child_publishes_what_it_sends(
    redis: RedisServer, code: str, keys: list[str]
) -> None:
    done = python(SEND + code, redis.url)
    assert done.returncode == 0, done.stderr
    eventually(all_finished)
    assert effects("atomic") == sorted(keys)


def test_a_pool_process_publishes_what_it_sent_before_it_is_recycled(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker("--max-tasks-per-child=1", SIGNAL_TASKS={"RELAY_IN_WORKER": False})
    for key in range(6):
        chained.send(sender=None, key=key)
    eventually(all_finished, seconds=60)
    assert len(effects("atomic")) == 6
