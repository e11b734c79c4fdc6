"""The high availability of the database: a standby takes over from the primary.

Clients name both servers, and libpq finds the one that can write.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.conftest import Workers
from tests.integration.workers import (
    CeleryWorker,
    eventually,
    python,
    runs,
    start_python,
)
from tests.servers import PostgresServer, RedisServer, StandbyServer, promote

pytestmark = pytest.mark.skipif(
    os.environ.get("TEST_DATABASE") != "postgres", reason="needs PostgreSQL"
)

HERE = "127.0.0.1"
SEND = """
from django.db import transaction
from tests.testapp.signals import inside, outside
from signal_tasks.broker.publisher import publisher
with transaction.atomic():
    for key in range({first}, {first} + {number}):
        for signal in (inside, outside):
            signal.send(sender=None, key=key, task={task!r}, seconds={seconds})
publisher.flush(5)
"""
POOLS = [
    ("-P", "prefork", "-c", "2"),
    ("-P", "threads", "-c", "2"),
    ("-P", "solo"),
    ("-P", "gevent", "-c", "4"),
]


class Cluster:
    """A primary with a standby, and processes that know both."""

    def __init__(self, redis: RedisServer, workers: Workers) -> None:
        self.primary = PostgresServer().start()
        self.standby = StandbyServer(self.primary).start()
        self.redis, self.workers = redis, workers
        self.env: dict[str, Any] = {}

    def prepare(self, **database: Any) -> None:
        """Create the tables; all processes get these settings of the database."""
        options = {"target_session_attrs": "read-write", **database.pop("OPTIONS", {})}
        default = {
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": f"{HERE},{HERE}",
            "PORT": f"{self.primary.port},{self.standby.port}",
            "OPTIONS": options,
            **database,
        }
        self.env = {"DEFAULT_DATABASE": default, "TEST_LEASE": "5"}
        self.run(
            "from django.core.management import call_command as c; c('migrate', run_syncdb=True, verbosity=0)"
        )

    def run(self, code: str) -> str:
        """Run code in a process of its own; return what it writes."""
        done = python(code, self.redis.url, **self.env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(
        self, number: int, *, first: int = 0, task: str = "", seconds: float = 0.0
    ) -> None:
        self.run(SEND.format(number=number, first=first, task=task, seconds=seconds))

    def start(self, *options: str) -> CeleryWorker:
        return self.workers.start(*options, **self.env)

    def read_only(self) -> None:
        """Have the primary refuse writes, and close no connection."""
        with connected(self.primary) as primary:
            primary.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            primary.execute("SELECT pg_reload_conf()")

    def caught_up(self) -> bool:
        """Tell whether the standby has all that the primary has."""
        end = ask(self.primary, "SELECT pg_current_wal_lsn()")
        return bool(ask(self.standby, f"SELECT pg_last_wal_replay_lsn() >= '{end}'"))

    def fall_behind(self) -> None:
        """Have the standby get nothing more of what the primary commits."""
        with connected(self.standby) as standby:
            standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
            standby.execute("SELECT pg_reload_conf()")
        eventually(
            lambda: not ask(self.standby, "SELECT count(*) FROM pg_stat_wal_receiver")
        )

    def close(self) -> None:
        self.standby.close()
        self.primary.close()


def connected(server: PostgresServer) -> psycopg.Connection[Any]:
    return psycopg.connect(
        server.url.replace("postgres://", "postgresql://"), autocommit=True
    )


def ask(server: PostgresServer, query: str) -> Any:
    """Return the only value that a query finds."""
    with connected(server) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def finished(server: PostgresServer) -> int:
    return int(
        ask(
            server,
            "SELECT count(*) FROM signal_tasks_delivery WHERE state = 'succeeded'",
        )
    )


def sessions(server: PostgresServer) -> int:
    """Return the connections of others to a server."""
    return int(
        ask(
            server,
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
    )


@pytest.fixture
def cluster(redis: RedisServer, db: None, tmp_path: Path) -> Iterator[Cluster]:
    workers = Workers(redis, tmp_path)
    cluster = Cluster(redis, workers)
    yield cluster
    workers.kill()
    cluster.close()


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[1])
def test_workers_leave_a_primary_that_only_reads(
    pool: tuple[str, ...], cluster: Cluster
) -> None:
    if pool[1] == "gevent" and importlib.util.find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    cluster.prepare(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    cluster.start(*pool)
    cluster.send(20)
    eventually(lambda: finished(cluster.primary) == 40)
    eventually(cluster.caught_up)
    cluster.read_only()
    promote(cluster.standby)
    cluster.send(20, first=20)
    started = time.monotonic()
    eventually(lambda: finished(cluster.standby) == 80)
    assert time.monotonic() - started < 10
    eventually(lambda: sessions(cluster.primary) == 0, seconds=10)
    assert ask(cluster.standby, "SELECT max(attempts) FROM signal_tasks_delivery") == 1


@pytest.mark.parametrize("pool", POOLS[:2], ids=lambda pool: pool[1])
def test_what_ran_when_the_primary_died_runs_again_and_spends_no_attempt(
    pool: tuple[str, ...], cluster: Cluster
) -> None:
    cluster.prepare(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    cluster.start(*pool)
    cluster.send(4, task="nap", seconds=1.0)
    eventually(lambda: len(runs()) >= 2)
    eventually(cluster.caught_up)
    cluster.primary.kill()
    promote(cluster.standby)
    eventually(lambda: finished(cluster.standby) == 8, seconds=60)
    assert ask(cluster.standby, "SELECT max(attempts) FROM signal_tasks_delivery") == 1
    effects = "SELECT count(*) FROM testapp_effect WHERE what = 'inside'"
    assert ask(cluster.standby, effects) == 4


ROWS = (
    "SELECT string_agg(format('%s %s %s', state, attempts, lease), ', ' ORDER BY id) "
    "FROM signal_tasks_delivery"
)


def test_who_holds_a_claim_that_the_failover_forgot_changes_nothing(
    cluster: Cluster,
) -> None:
    """The standby was behind, so that another worker claims the same deliveries."""
    cluster.prepare(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    cluster.env["TEST_LEASE"] = "60"
    cluster.send(1, task="nap", seconds=12)
    eventually(cluster.caught_up)
    cluster.fall_behind()
    first = cluster.start()
    eventually(lambda: len(runs()) == 2)
    first.send_all(signal.SIGSTOP)
    cluster.primary.kill()
    promote(cluster.standby)
    assert ask(cluster.standby, ROWS) == "pending 0 0, pending 0 0"
    cluster.start()
    eventually(lambda: len(runs()) == 4)
    held = ask(cluster.standby, ROWS)
    assert held.count("running 1") == 2
    first.send_all(signal.SIGCONT)
    eventually(lambda: first.output.count("delivery_fenced") == 2)
    assert ask(cluster.standby, ROWS) == held  # the second has begun later
    eventually(lambda: finished(cluster.standby) == 2)
    assert ask(cluster.standby, ROWS).replace("succeeded", "running") == held
    assert ask(cluster.standby, "SELECT count(*) FROM signal_tasks_attempt") == 0
    effects = "SELECT count(*) FROM testapp_effect WHERE what = 'inside'"
    assert ask(cluster.standby, effects) == 1


REQUESTS = """
import sys
from contextlib import nullcontext
from django.db import close_old_connections, transaction
from tests.testapp.signals import inside
for line in sys.stdin:
    close_old_connections()
    try:
        with transaction.atomic() if line.strip() == "atomic" else nullcontext():
            inside.send(sender=None, key="sent")
    except Exception as error:
        print(type(error).__name__, flush=True)
    else:
        print("sent", flush=True)
    close_old_connections()
"""


@pytest.mark.parametrize("kind", ["atomic", "autocommit"])
def test_a_sender_leaves_a_primary_that_only_reads_after_one_request(
    kind: str, cluster: Cluster
) -> None:
    cluster.prepare(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    web = start_python(REQUESTS, cluster.redis.url, **cluster.env)

    def request() -> str:
        assert web.stdin is not None
        assert web.stdout is not None
        web.stdin.write(f"{kind}\n")
        web.stdin.flush()
        return web.stdout.readline().strip()

    with web:
        assert [request(), request()] == ["sent", "sent"]
        eventually(cluster.caught_up)
        cluster.read_only()
        promote(cluster.standby)
        assert [request(), request()] == ["InternalError", "sent"]
        assert ask(cluster.standby, "SELECT count(*) FROM signal_tasks_event") == 3
        assert web.stdin is not None
        web.stdin.close()
