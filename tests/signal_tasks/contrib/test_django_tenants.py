"""The real django-tenants: each delivery runs as the tenant that sent it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="it has schemas"
)


def story(**environment: str) -> Any:
    """Run the story of two tenants in a process of its own; return what it saw."""
    url = os.environ.get("TEST_SERVER_URL") or os.environ["TEST_DATABASE"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.tenants.story"],
        cwd=ROOT,
        env={**os.environ, "TENANTS_URL": url, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("limited", [{}, {"TENANT_LIMIT_SET_CALLS": "1"}])
def test_each_delivery_runs_as_the_tenant_that_sent_it(limited: dict[str, str]) -> None:
    saw = story(TENANTS_TRAVEL="1", **limited)
    assert saw["checks"] == []
    assert saw["errors"] == []
    assert sorted(saw["seen"]) == [
        [how, name, f"the tenant {name}", f"{text} of {name}"]
        for how in ("atomic", "outside")
        for name in ("one", "two")
        for text in ("bye", "hello")
    ]
    assert saw["answers"] == {
        name: [f"to hello of {name}", f"to bye of {name}"] for name in ("one", "two")
    }
    assert saw["schema"] == "public"
    assert saw["under one key"] == 2
    assert {schema for _, schema, *_ in saw["late"]} == {"two"}
    assert saw["states"] == [
        ["dead", "undecodable"],
        ["discarded", ""],
        ["succeeded", ""],
    ]
    (parked,) = saw["parked"]
    assert "no schema 'one' any more" in parked


def test_without_the_hook_every_send_of_a_tenant_is_refused() -> None:
    saw = story()
    assert saw["checks"] == ["signal_tasks.E007"]
    assert len(saw["errors"]) == 4
    assert all("contrib.schemas.SearchPath" in error for error in saw["errors"])
    assert saw["seen"] == []


def test_an_outbox_of_each_tenant_is_refused_too() -> None:
    saw = story(TENANTS_TRAVEL="1", TENANTS_HAVE_OUTBOXES="1")
    assert saw["checks"] == ["signal_tasks.E007"]
    assert len(saw["errors"]) == 4
    assert all("not the one that workers read" in error for error in saw["errors"])
    assert saw["seen"] == []
