"""The library's tests stand on their own: no part of the shop is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOP = ("shop", "orders", "products", "customers", "notifications", "celery_app")
SET_UP = f"""
import sys, django
django.setup()
print(*(set(sys.modules) & set({SHOP})))
"""


def test_the_settings_of_these_tests_import_nothing_of_the_shop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SET_UP],
        cwd=ROOT,
        env={
            **os.environ,
            "TEST_DATABASE": "sqlite",
            "DJANGO_SETTINGS_MODULE": "tests.signal_tasks.settings",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def collect(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Collect tests in another pytest, which chooses its settings by itself."""
    foreign = ("DJANGO_SETTINGS_MODULE", "TEST_FOLDER")
    kept = {k: v for k, v in os.environ.items() if k not in foreign}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", *arguments],
        cwd=ROOT,
        env={**kept, "TEST_DATABASE": "sqlite"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("paths", "settings"),
    [
        (
            ["tests/signal_tasks/test_conf.py", "tests/integration/test_load.py"],
            "tests.signal_tasks.settings",
        ),
        (["tests/test_docs.py"], "tests.settings"),
    ],
)
def test_the_paths_that_are_asked_for_choose_the_settings(
    paths: list[str], settings: str
) -> None:
    done = collect(*paths)
    assert done.returncode == 0, done.stderr
    assert f"settings: {settings} (from" in done.stdout


@pytest.mark.parametrize("paths", [[], ["tests/signal_tasks", "tests/shop"]])
def test_the_tests_of_library_and_shop_are_not_run_together(paths: list[str]) -> None:
    done = collect(*paths)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Run them apart" in done.stderr
