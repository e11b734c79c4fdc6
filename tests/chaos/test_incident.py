"""The short form of the scripted incident: only public means put it right."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.chaos.conftest import ROOT

INCIDENT = (sys.executable, "-m", "chaos.incident", "--short")


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    os.environ.get("TEST_DATABASE", "sqlite") == "sqlite",
    reason="it starts a PostgreSQL of its own: once is enough",
)
def test_an_operator_with_a_shell_puts_an_incident_right():
    ours = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(
        INCIDENT, cwd=ROOT, env=ours, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
