"""P8: the thread that serves a request never touches the broker."""

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
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a web process on a database of its own."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "chaos.settings",
        "CHAOS_DATABASE": f"sqlite:///{tmp_path / 'requests.sqlite3'}",
        "CHAOS_FOLDER": str(tmp_path),
    }
    migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=ROOT, env=env, check=True)
    return env


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_touches_no_socket_of_the_broker(
    kind: str, env: dict[str, str], tmp_path: Path
) -> None:
    with request_cost.brokers(tmp_path) as urls:
        web = request_cost.start(kind, {**env, "CHAOS_BROKER": urls[kind]})
        for _ in range(5):
            web.ask(20)
        web.end()
    assert web.touched_by_requests == 0
    assert "signal_tasks-publisher" in web.touched
    assert len(web.durations) == 100


def test_a_process_ends_in_time_though_its_broker_is_silent(
    env: dict[str, str], tmp_path: Path
) -> None:
    with request_cost.brokers(tmp_path) as urls:
        web = request_cost.start("hung", {**env, "CHAOS_BROKER": urls["hung"]})
        web.ask(1)
        web.end()
    assert web.process.returncode == 0
    assert web.exit < request_cost.MAX_EXIT


def test_a_touch_would_be_seen(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as redis, sockets.watched(redis.port) as seen:
        assert redis.answers()
    assert sum(seen.values()) > 0
