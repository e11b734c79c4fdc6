"""The doctor knows a worker that takes part in nothing, though the broker is the same.

Apart from the other tests of the doctor, whose worker would report to the database.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.workers import eventually
from tests.servers import RedisServer
from tests.signal_tasks.command import told

STRANGER = "from celery import Celery; app = Celery('stranger', broker={!r})"


@pytest.fixture
def _stranger(redis: RedisServer, tmp_path: Path) -> Iterator[None]:
    """Start a worker of an app that does not load this library."""
    (tmp_path / "stranger.py").write_text(STRANGER.format(redis.url))
    command = [sys.executable, "-m", "celery", "-A", "stranger", "worker", "-P", "solo"]
    log = tmp_path / "stranger.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=output, stderr=output, env={"PATH": ""}
        )
    eventually(lambda: "[queues]" in log.read_text())
    yield
    process.kill()
    process.wait(10)


@pytest.mark.usefixtures("_stranger", "transactional_db")
def test_a_worker_whose_app_does_not_load_the_library_is_told_apart() -> None:
    def told_of() -> bool:
        findings = told("doctor", status=1)["findings"]
        (found,) = [each for each in findings if each["step"] == "workers"]
        assert "celery -A tests" in found["remedy"]
        return "does not load signal_tasks" in found["text"]

    eventually(told_of)
