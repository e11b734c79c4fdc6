"""The fault suite notices an engine that is broken."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chaos.mutations import MUTATIONS
from tests.chaos.conftest import played

Runs = dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def runs() -> Runs:
    """A run with each of the broken engines, at the same time: they mostly wait."""
    with ThreadPoolExecutor() as threads:
        return dict(zip(MUTATIONS, threads.map(_play, MUTATIONS), strict=True))


def _play(name: str) -> subprocess.CompletedProcess[str]:
    """Logs and journals of runs that have to fail are not left behind."""
    options = ("--events", "0", "--faults", MUTATIONS[name].fault)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the servers run as another user
        return played(*options, "--mutation", name, TMPDIR=folder)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_engine_is_noticed(name: str, runs: Runs) -> None:
    print(runs[name].stdout, runs[name].stderr)
    assert runs[name].returncode == 1
    assert "A promise was broken." in runs[name].stdout
