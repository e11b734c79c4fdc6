"""The crash points: each is a real place in the engine, and kills exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

from chaos.crash_points import WEB, WORKER, CrashPoint

ARRIVE = "from chaos.crash_points import CrashPoint; CrashPoint.TAKEN.arrive()"


@pytest.mark.parametrize("point", CrashPoint)
def test_each_crash_point_names_a_function_of_the_engine(point: CrashPoint) -> None:
    module, _, path = point.value.where.partition(":")
    if module.startswith("signal_tasks."):
        assert callable(reduce(getattr, path.split("."), import_module(module)))
    else:
        assert point is CrashPoint.IN_RECEIVER


def test_the_windows_from_the_commit_to_the_acknowledgement_are_all_there() -> None:
    assert [point.name for point in CrashPoint if point.value.role == WEB] == [
        "WRITTEN",
        "COMMITTED",
        "SUBMITTED",
        "PUBLISHED",
    ]
    assert [point.name for point in CrashPoint if point.value.role == WORKER] == [
        "RECEIVED",
        "TAKEN",
        "IN_RECEIVER",
        "RAN",
        "ENDED",
        "SETTLED",
        "UNACKNOWLEDGED",
        "HANDING_BACK",
        "HANDED_BACK",
        "RECOVERING",
        "CLAIMED",
        "RELAYED",
    ]


def test_a_process_dies_at_a_point_only_when_that_was_ordered(tmp_path: Path) -> None:
    assert _arrive(tmp_path) == 0
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "TAKEN").touch()
    assert _arrive(tmp_path) == -signal.SIGKILL
    assert _arrive(tmp_path) == 0


def _arrive(folder: Path) -> int:
    return subprocess.run(
        [sys.executable, "-c", ARRIVE],
        env={**os.environ, "CHAOS_FOLDER": str(folder)},
        check=False,
    ).returncode
