"""The thread that serves a request never uses a socket of the broker (P8)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import request_cost, sockets
from shop.embedded import RedisServer
from tests.chaos.conftest import ROOT

KINDS = ("healthy", "refused", "hung", "slow")


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Return the environment variables of a web process with a private database."""
    variables = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "chaos.settings",
        "CHAOS_DATABASE": f"sqlite:///{tmp_path / 'requests.sqlite3'}",
        "CHAOS_FOLDER": str(tmp_path),
    }
    migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=ROOT, env=variables, check=True)
    return variables


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_uses_no_socket_of_the_broker(
    kind: str, variables: dict[str, str], tmp_path: Path
) -> None:
    with request_cost.brokers(tmp_path) as urls:
        web = request_cost.start(kind, {**variables, "CHAOS_BROKER": urls[kind]})
        for _ in range(5):
            web.ask(20)
        web.end()
    assert web.used_by_requests == 0
    assert "signal_tasks-publisher" in web.operations
    assert len(web.durations) == 100


def test_a_process_ends_in_time_if_its_broker_never_answers(
    variables: dict[str, str], tmp_path: Path
) -> None:
    with request_cost.brokers(tmp_path) as urls:
        web = request_cost.start("hung", {**variables, "CHAOS_BROKER": urls["hung"]})
        web.ask(1)
        web.end()
    assert web.process.returncode == 0
    assert web.exit < request_cost.MAX_EXIT


def test_an_operation_on_a_socket_is_counted(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis, sockets.watched(redis.port) as seen:
        assert redis.answers()
    assert sum(seen.values()) > 0
