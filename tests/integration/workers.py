"""Real Celery workers: start, observe, signal and kill them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from celery.app.control import Control

from signal_tasks.models import Delivery
from tests.testapp.marks import folder
from tests.testapp.models import Effect

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.signal_tasks.celery_app"
CELERY = (sys.executable, "-m", "chaos.worker", "-A", APP, "worker", "-l", "INFO")
#: Without these parts, a worker starts a second sooner.
LEAN = ("--without-mingle", "--without-gossip")


def eventually(true: Callable[[], Any], *, seconds: float = 30.0) -> Any:
    """Wait until ``true()`` returns something true, and return that; else fail."""
    deadline = time.monotonic() + seconds
    while True:
        result = true()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not so within {seconds} s: {true}; {overview()}")
        time.sleep(0.05)


def overview() -> list[tuple[object, ...]]:
    """Return what is not finished yet, for the message of a test that failed."""
    fields = (
        "receiver",
        "state",
        "attempts",
        "lease",
        "publish_count",
        "isolated",
        "orphaned",
    )
    return list(Delivery.objects.live().values_list(*fields)[:10])


def all_finished() -> bool:
    """Tell whether every delivery is finished."""
    return not Delivery.objects.live().exists()


def states() -> dict[str, int]:
    """Return the number of deliveries in each state."""
    return dict(Counter(Delivery.objects.values_list("state", flat=True)))


def effects(what: str) -> list[str]:
    """Return the key of each effect that a receiver left."""
    return sorted(Effect.objects.filter(what=what).values_list("key", flat=True))


def keys(number: int) -> list[str]:
    """Return the keys of ``number`` events, as ``effects`` returns them."""
    return sorted(str(key) for key in range(number))


@dataclass(frozen=True)
class Run:
    """One start of a receiver, also one that failed."""

    key: str
    pid: int
    at: float


def runs(what: str = "*") -> list[Run]:
    """Return the starts of a receiver, also those whose effects were undone."""
    lines = [
        line.split()
        for path in folder().glob(what)
        for line in path.read_text().splitlines()
    ]
    return [Run(key, int(pid), float(at)) for key, pid, at in lines]


def runs_of(key: object, what: str = "*") -> int:
    """Return how often a receiver was started for the event with that key."""
    return sum(run.key == str(key) for run in runs(what))


def is_alive(pid: int) -> bool:
    """Tell whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@dataclass
class CeleryWorker:
    """A worker process with its pool children, in a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Return the id of the main process."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Return all that it has written."""
        return self.log.read_text(errors="replace")

    def is_running(self) -> bool:
        """Tell whether the main process has not ended."""
        return self.process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until it consumes messages."""
        deadline = time.monotonic() + 60
        while " ready." not in self.output:
            if not self.is_running() or time.monotonic() > deadline:
                pytest.fail(f"the worker did not start:\n{self.output}")
            time.sleep(0.02)

    def children(self) -> list[int]:
        """Return the ids of the processes of the pool."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone."""
        os.kill(self.pid, number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the worker, as systemd does."""
        os.killpg(self.pid, number)

    def wait(self, seconds: float = 30) -> int:
        """Wait for the end of the main process."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Kill it and its children, as a power cut does."""
        with suppress(ProcessLookupError):
            self.send_all(signal.SIGKILL)
        self.process.wait(10)


def launch(
    name: str, *options: str, log: Path, broker: str, **env: object
) -> CeleryWorker:
    """Start a worker on the databases of this test run.

    ``SIGNAL_TASKS`` and ``CELERY`` in ``env`` override settings; the rest is its
    environment.
    """
    concurrency = () if "-c" in options else ("-c", "2")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*CELERY, "-n", f"{name}@test", *LEAN, *concurrency, *options],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(broker, **env),
            start_new_session=True,
        )
    return CeleryWorker(process, log)


def environment(broker: str, **env: object) -> dict[str, str]:
    """Return the environment of a process on the databases and broker of the tests."""
    ours: dict[str, object] = {
        "DJANGO_SETTINGS_MODULE": "tests.integration.live",
        "TEST_LIVE": "1",
        "TEST_BROKER_URL": broker,
        "TEST_RELAY_INTERVAL": "0.2",
        "TEST_REPUBLISH_AFTER": "1",
        "PYTHONWARNINGS": "ignore",
    }
    given = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in {**ours, **env}.items()
    }
    return {**os.environ, **given}


def python(code: str, broker: str, **env: object) -> subprocess.CompletedProcess[str]:
    """Run code in another process, after it has set up Django."""
    return subprocess.run(
        _python(code),
        cwd=ROOT,
        env=environment(broker, **env),
        capture_output=True,
        text=True,
        timeout=150,
    )


def start_python(code: str, broker: str, **env: object) -> subprocess.Popen[str]:
    """Start to run code in another process, with pipes to it and from it."""
    return subprocess.Popen(
        _python(code),
        cwd=ROOT,
        env=environment(broker, **env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import django; django.setup()\n{code}"]


def remote_control() -> Control:
    """Return Celery's remote control, without a producer of an earlier test's broker."""
    control = Control(current_app)
    control.mailbox.producer_pool = None
    return control
