"""A process publishes what it sends, however it was made and however it ends.

The worker runs no relay, so what a process does not publish is never delivered.
"""

from __future__ import annotations

import importlib.util
import os

import pytest

from tests.integration.conftest import StartWorker
from tests.integration.steps import messages
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    python,
)
from tests.servers import RedisServer
from tests.testapp.signals import chained

no_gevent = importlib.util.find_spec("gevent") is None and "CI" not in os.environ
with_gevent = pytest.mark.skipif(no_gevent, reason="gevent is not installed")

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
FORK_IN_C_WHILE_PUBLISHING = """
import ctypes, threading
from celery.signals import before_task_publish
from signal_tasks.broker.publisher import publisher
parent, publishes, has_forked = os.getpid(), threading.Event(), threading.Event()

@before_task_publish.connect(weak=False)
def wait_for_fork(**_):
    if os.getpid() == parent:
        publishes.set()
        assert has_forked.wait(60)

send("parent")
assert publishes.wait(60)
if not (pid := ctypes.PyDLL(None).fork()):  # with Python's lock, as uWSGI does
    # A thread of the server: else the publisher's gets the identity of the parent's.
    threading.Thread(target=has_forked.wait, args=(60,), daemon=True).start()
    send("child")
    os._exit(0 if publisher.flush(10) else 1)
has_forked.set()
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
        (FORK_IN_C_WHILE_PUBLISHING, ["parent", "child"]),
        (MULTIPROCESSING, ["child"]),
        (EXECUTOR, ["one", "two", "three"]),
        (BILLIARD, ["child"]),
    ],
    ids=["fork", "fork in C", "busy", "multiprocessing", "executor", "billiard"],
)
def test_a_child_publishes_what_it_sends(
    redis: RedisServer, code: str, keys: list[str]
) -> None:
    done = python(SEND + code, redis.url)
    assert done.returncode == 0, done.stderr
    eventually(all_finished)
    assert effects("atomic") == sorted(keys)


PATCHED_AFTER_FORK = """
import faulthandler, os
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import publisher
from tests.testapp import receivers

def submit(id):
    name = "tests.testapp.receivers.note"
    publisher.submit(PublishRequest(receiver=name, database="default", ids=[id]))

if not (pid := os.fork()):
    faulthandler.dump_traceback_later(20, exit=True)  # a process that waits for itself
    from gevent import joinall, monkey, spawn
    monkey.patch_all()
    joinall([spawn(submit, id) for id in "abc"], raise_error=True)
    os._exit(0 if publisher.flush(10) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


@with_gevent
def test_a_child_that_gevent_patches_late_publishes_what_its_greenlets_send(
    redis: RedisServer,
) -> None:
    done = python(PATCHED_AFTER_FORK, redis.url)
    assert done.returncode == 0, done.stderr
    assert messages(redis) == ["a", "b", "c"]


def test_a_pool_process_publishes_what_it_sent_before_it_is_recycled(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker("--max-tasks-per-child=1", SIGNAL_TASKS={"RELAY_IN_WORKER": False})
    for key in range(6):
        chained.send(sender=None, key=key)
    eventually(all_finished, seconds=60)
    assert len(effects("atomic")) == 6


FIRST_MESSAGE = """
import sys
from tests.signal_tasks.celery_app import app
from signal_tasks.models import Delivery
from tests.testapp.signals import noted

worker = app.Worker(hostname="w@test")
noted.send(sender=None, key="first")
loaded = set(sys.modules)
id = str(Delivery.objects.live().get().id)
print(app.tasks["tests.testapp.receivers.note"].apply([[id]]).result)
assert not (new := {name for name in sys.modules if "signal_tasks" in name} - loaded), new
"""


def test_a_pool_process_loads_nothing_of_its_own_for_its_first_message(
    redis: RedisServer, transactional_db: None
) -> None:
    done = python(FIRST_MESSAGE, redis.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 succeeded\n"
