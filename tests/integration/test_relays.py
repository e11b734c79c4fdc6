"""The relay in every worker, in a process of its own, and while code is deployed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.db import transaction

from signal_tasks.models import Delivery, Worker
from tests.integration.conftest import StartWorker, flush
from tests.integration.workers import (
    ROOT,
    all_finished,
    effects,
    environment,
    eventually,
    keys,
    python,
    runs,
    states,
)
from tests.servers import RedisServer
from tests.testapp.receivers import note_novelty
from tests.testapp.signals import happened, inside, novel, queued

NO_RELAY = {"RELAY_IN_WORKER": False}
MANAGE = (sys.executable, "-m", "django", "signal_tasks")


def send_unpublished(number: int) -> None:
    """Send events whose messages are lost, as by a process that died."""
    code = f"""
    from tests.testapp.signals import happened
    for key in range({number}): happened.send(sender=None, key=key)
    import os; os._exit(0)
    """
    done = python("\n".join(map(str.strip, code.splitlines())), "redis://127.0.0.1:1")
    assert done.returncode == 0, done.stderr


def test_two_relays_side_by_side_double_nothing(start_worker: StartWorker) -> None:
    send_unpublished(300)
    start_worker(ready=False)
    start_worker()
    assert eventually(lambda: Worker.objects.count() == 2)
    eventually(all_finished)
    assert effects("atomic") == effects("outside") == keys(300)


@pytest.fixture
def relay(redis: RedisServer, transactional_db: None) -> Iterator[None]:
    """Start a relay as a process of its own."""
    env = environment(redis.url)
    process = subprocess.Popen([*MANAGE, "relay"], cwd=ROOT, env=env)
    yield
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not Worker.objects.filter(name__startswith="relay@").exists()


@pytest.mark.usefixtures("relay")
def test_a_relay_alone_publishes_for_workers_without(start_worker: StartWorker) -> None:
    start_worker(SIGNAL_TASKS=NO_RELAY)
    send_unpublished(5)
    eventually(all_finished)
    assert effects("atomic") == keys(5)


def manage(verb: str, redis: RedisServer) -> tuple[int, dict[str, object]]:
    """Run a subcommand that prints JSON."""
    done = subprocess.run(
        [*MANAGE, verb, "--json"],
        cwd=ROOT,
        env=environment(redis.url),
        capture_output=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_status_is_healthy_only_with_a_worker(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    happened.send(sender=None, key="s")
    code, status = manage("status", redis)
    assert (code, status["pending"], status["workers"]) == (1, 2, [])
    worker = start_worker()
    eventually(all_finished)
    code, status = manage("status", redis)
    assert (code, status["pending"], status["succeeded"]) == (0, 0, 2)
    assert status["workers"]
    worker.send(signal.SIGTERM)
    worker.wait()
    code, status = manage("status", redis)
    assert (code, status["workers"]) == (1, [])


def test_what_waits_in_a_long_queue_is_not_published_over_and_over(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker("-c", "1", SIGNAL_TASKS={"REPUBLISH_AFTER": 0.3})
    with transaction.atomic():
        inside.send(sender=None, key="long", task="nap", seconds=4)
        waiting = [inside.send(sender=None, key=key)[0][1].id for key in range(20)]
    eventually(all_finished)
    assert effects("inside") == [*keys(20), "long"]
    assert len(runs()) == 21
    assert Delivery.objects.filter(pk__in=waiting, publish_count__gt=5).count() == 0


def test_a_delivery_to_a_receiver_of_newer_code_waits_for_a_worker_with_that_code(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    older = start_worker()
    novel.connect(note_novelty)
    try:
        with transaction.atomic():
            novel.send(sender=None, key="n")
            happened.send(sender=None, key="known")
    finally:
        novel.disconnect(note_novelty)
    eventually(lambda: Delivery.objects.filter(orphaned=True, state="pending").count())
    eventually(lambda: states().get("succeeded") == 2)
    assert effects("atomic") == ["known"]
    start_worker(TEST_KNOWS_NOVEL="1")
    eventually(all_finished)
    assert effects("novel") == ["n"]
    assert Delivery.objects.filter(orphaned=True).count() == 0
    assert older.is_running()


def test_a_worker_serves_only_the_queues_it_is_told_to(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker("-Q", "elsewhere")
    happened.send(sender=None, key="h")
    queued.send(sender=None, key="q")
    eventually(lambda: effects("elsewhere") == ["q"])
    flush(redis)
    assert states() == {"pending": 2, "succeeded": 1}
    start_worker()
    eventually(all_finished)
