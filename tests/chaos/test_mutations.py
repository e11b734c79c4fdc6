"""The fault suite detects a broken engine."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chaos.mutations import MUTATIONS
from tests.chaos.conftest import database, short_run

pytestmark = pytest.mark.timeout(400)

Runs = dict[str, subprocess.CompletedProcess[str]]


#: Those whose fault can be injected on the database of this test run.
HERE = [name for name, each in MUTATIONS.items() if each.database in ("", database())]


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Run the suite with each mutation, in parallel: the runs mostly wait."""
    with ThreadPoolExecutor() as threads:
        return dict(zip(HERE, threads.map(_run, HERE), strict=True))


def _run(name: str) -> subprocess.CompletedProcess[str]:
    """Run the suite with a mutation until it is detected, three times at most.

    On a busy machine a worker may end before the broken engine has done any harm, or
    before the fault has been injected.
    """
    for _ in range(2):
        ran = _run_once(name)
        if ran.returncode and "not injected" not in ran.stdout:
            return ran
    return _run_once(name)


def _run_once(name: str) -> subprocess.CompletedProcess[str]:
    """Run it; delete the logs that a failed run keeps."""
    options = ("--events", "0", "--faults", MUTATIONS[name].fault)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the servers run as another user
        return short_run(*options, "--mutation", name, TMPDIR=folder)


@pytest.mark.parametrize("name", HERE)
def test_a_broken_engine_is_detected(name: str, runs: Runs) -> None:
    print(runs[name].stdout, runs[name].stderr)
    assert runs[name].returncode == 1
    assert "A promise was broken." in runs[name].stdout
    assert "not injected" not in runs[name].stdout
