"""One short run of the fault suite on the database of this test run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAOS = (sys.executable, "-m", "chaos", "--short", "--database")


def short_run(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the short form with these options and environment variables."""
    ours = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [*CHAOS, database(), *options],
        cwd=ROOT,
        env={**ours, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def database() -> str:
    """Return the database of this test run; a private PostgreSQL if it is a URL."""
    chosen = os.environ.get("TEST_DATABASE", "sqlite")
    return chosen if chosen in ("sqlite", "postgres", "mariadb") else "postgres"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the result of each fault, by name."""
    file = tmp_path_factory.mktemp("chaos") / "run.json"
    ran = short_run("--json", str(file))
    print(ran.stdout, ran.stderr)
    assert file.exists(), ran.stderr
    return {row["fault"]: row for row in json.loads(file.read_text())["rows"]}
