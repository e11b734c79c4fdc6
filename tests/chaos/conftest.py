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
CHAOS = (sys.executable, "-m", "chaos", "--short")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each fault came to."""
    file = tmp_path_factory.mktemp("chaos") / "run.json"
    chosen = os.environ.get("TEST_DATABASE", "sqlite")
    database = chosen if chosen in ("sqlite", "postgres") else "postgres"
    ran = subprocess.run(
        [*CHAOS, "--database", database, "--json", str(file)],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(ran.stdout, ran.stderr)
    assert file.exists(), ran.stderr
    return {row["fault"]: row for row in json.loads(file.read_text())["rows"]}
