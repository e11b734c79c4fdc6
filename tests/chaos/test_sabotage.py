"""The fault suite notices an engine that is broken."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.db import connection

from chaos.sabotage import SABOTAGES
from tests.chaos.conftest import ROOT


@pytest.mark.skipif(connection.vendor != "sqlite", reason="seen on SQLite already")
@pytest.mark.parametrize("name", SABOTAGES)
def test_a_broken_engine_is_noticed(name: str) -> None:
    fault = SABOTAGES[name].fault
    options = ["--short", "--events", "0", "--faults", fault, "--sabotage", name]
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", "--database", "sqlite", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(ran.stdout, ran.stderr)
    assert ran.returncode == 1
    assert "A promise was broken." in ran.stdout
