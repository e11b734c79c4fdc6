"""The crash points: each is in the engine, and kills exactly one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import receiver_faults
from chaos.crash_points import WEB, WORKER, CrashPoint
from chaos.hooks import Target
from signal_tasks import outbox

REACH_A_POINT = """
import django; django.setup()
from chaos.crash_points import CrashPoint
CrashPoint.CLAIMED.crash_if_armed()
"""


@pytest.mark.parametrize("point", CrashPoint)
def test_each_crash_point_is_a_function_of_the_engine(point: CrashPoint) -> None:
    target = point.value.target
    in_engine = target.function.__module__.startswith("signal_tasks.")
    assert in_engine or target.owner is receiver_faults
    assert target.current is target.function


def test_a_target_that_its_owner_does_not_use_is_refused() -> None:
    with pytest.raises(LookupError, match="does not use after_effect"):
        Target(outbox, receiver_faults.after_effect)


def test_there_is_a_crash_point_in_each_window_from_commit_to_acknowledgement() -> None:
    assert [point.name for point in CrashPoint if point.value.role == WEB] == [
        "MERGED",
        "WRITTEN",
        "JOINED",
        "COMMITTED",
        "SUBMITTED",
        "PUBLISHED",
    ]
    assert [point.name for point in CrashPoint if point.value.role == WORKER] == [
        "PROBED",
        "RECEIVED",
        "CLAIMED",
        "IN_RECEIVER",
        "RETURNED",
        "FINISHED",
        "TURN_GIVEN_UP",
        "FINISH_COMMITTED",
        "SETTLING",
        "SETTLED",
        "NEXT_FOUND",
        "NOT_RUN",
        "MOVED_AWAY",
        "HELD",
        "UNACKNOWLEDGED",
        "RELEASING",
        "RELEASED",
        "HELD_RELEASED",
        "RECOVERING",
        "SCHEDULED",
        "REPUBLISHED",
        "OPERATION_STEP",
        "COLLECTED",
        "CHANGED",
        "BACKFILLED",
        "COUNTED",
    ]


def test_a_process_crashes_only_at_an_armed_point_and_only_once(tmp_path: Path) -> None:
    assert _reach_the_point(tmp_path) == 0
    (tmp_path / "crash_points").mkdir()
    (tmp_path / "crash_points" / "CLAIMED").touch()
    assert _reach_the_point(tmp_path) == -signal.SIGKILL
    assert _reach_the_point(tmp_path) == 0


def _reach_the_point(folder: Path) -> int:
    return subprocess.run(
        [sys.executable, "-c", REACH_A_POINT],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "chaos.settings",
            "CHAOS_FOLDER": str(folder),
        },
        check=False,
    ).returncode
