"""The processes under test: each is started once, and ends with the suite."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.processes import ManagedProcess

WAIT = "import time; print('it is ready.', flush=True); time.sleep(60)"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ManagedProcess]:
    command = (sys.executable, "-c", WAIT)
    process = ManagedProcess(
        name="one", command=command, env={}, log=tmp_path / "one.log"
    )
    process.start()
    yield process
    process.kill()


def test_a_process_that_is_alive_is_not_started_again(process: ManagedProcess) -> None:
    pid = process.pid
    process.start()
    assert (process.pid, process.starts) == (pid, 1)


def test_a_process_that_was_killed_is_started_again(process: ManagedProcess) -> None:
    pid = process.pid
    process.kill()
    process.start()
    process.wait_until_ready()
    assert process.pid != pid
