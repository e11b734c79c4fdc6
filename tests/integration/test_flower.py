"""Flower shows tasks by their receivers, and leads to the dashboard; that leads back."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from django.contrib.auth.models import User
from django.test import Client

from signal_tasks.models import Attempt
from signal_tasks.registry.registry import registry
from tests.integration.conftest import StartWorker
from tests.integration.workers import APP, ROOT, all_finished, environment, eventually
from tests.testapp.receivers import fail
from tests.testapp.signals import failed, queued

DASHBOARD = "https://shop.example/signals/"
CONFIG = f"""
from signal_tasks.contrib.flower import link_deliveries
link_deliveries({DASHBOARD!r})
"""
CONTROL = {"WORKER_ENABLE_REMOTE_CONTROL": True}


@pytest.fixture
def flower(redis: Any, tmp_path: Path) -> Iterator[str]:
    """Start Flower; return its address."""
    config = tmp_path / "flowerconfig.py"
    config.write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ("--address=127.0.0.1", f"--port={port}", f"--conf={config}")
    env = environment(redis.url, FLOWER_UNAUTHENTICATED_API="true", CELERY=CONTROL)
    with (tmp_path / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", APP, "flower", *where],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: text(f"{address}/healthcheck"), seconds=60)
        yield address
    finally:
        process.terminate()
        process.wait(30)
        print((tmp_path / "flower.log").read_text())


def text(address: str) -> str:
    """Return what is answered; nothing where nobody answers, or nothing is known."""
    try:
        with urlopen(address, timeout=10) as answer:
            return str(answer.read().decode())
    except URLError:
        return ""


def test_flower_and_the_dashboard_lead_to_each_other(
    flower: str, start_worker: StartWorker, client: Client, settings: Any
) -> None:
    start_worker("-E", CELERY=CONTROL)
    failed.send(sender=None, times=1)
    queued.send(sender=None)
    eventually(all_finished, seconds=60)
    attempt = Attempt.objects.get()

    # the task is its receiver, and its arguments are the delivery
    info = f"{flower}/api/task/info/{attempt.task_id}"
    task = json.loads(eventually(lambda: text(info)))
    name = f"{fail.__module__}.{fail.__qualname__}"
    assert task["name"] == name
    assert task["args"] == f"([{attempt.delivery_id}], 'default')"
    assert task["kwargs"] == "{}"

    # every queue that a receiver names is consumed
    named = {receiver.queue for receiver in registry.receivers()} - {None}
    assert "elsewhere" in named
    assert named | {"tests"} <= consumed(flower)

    # one click there
    page = text(f"{flower}/task/{attempt.task_id}")
    target = f"{DASHBOARD}deliveries/{attempt.delivery_id}/?database=default"
    assert f'href="{target}"' in page

    # and one back
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "FLOWER_URL": f"{flower}/"}
    client.force_login(User.objects.create_superuser("operator"))
    shown = client.get(f"/signals/deliveries/{attempt.delivery_id}/").content.decode()
    assert f'href="{flower}/task/{attempt.task_id}"' in shown
    assert f'href="{flower}/tasks?name={name}"' in shown


def consumed(flower: str) -> set[str]:
    """Return the queues that the worker consumes, as Flower knows them."""
    (worker,) = json.loads(text(f"{flower}/api/workers?refresh=1")).values()
    return {queue["name"] for queue in worker["active_queues"]}
