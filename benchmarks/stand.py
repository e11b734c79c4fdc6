"""The test stand: PostgreSQL and Redis of its own, with a seat for each contender."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg
import redis

from benchmarks.roster import Contender
from benchmarks.seat import Seat
from shop.embedded import PostgresServer, RedisServer


class Stand:
    """The servers, started for this run and stopped after it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
        self.postgres = PostgresServer(fsync=True)
        self.redis = RedisServer(self.folder / "redis")
        self.seats: list[Seat] = []

    def __enter__(self) -> Self:
        self.postgres.start()
        self.redis.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for seat in self.seats:
            seat.stop()
        self.redis.stop()
        self.postgres.close()

    def seat(self, contender: Contender, variant: str = "") -> Seat:
        """Create a database of its own for this contender, with its tables."""
        seat = Seat(self, contender, variant)
        self.seats.append(seat)
        return seat

    def sql(self, database: str) -> psycopg.Connection[Any]:
        """Return a connection that commits each statement."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.postgres.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            application_name="harness",
        )

    def redis_version(self) -> str:
        """Return the version of the Redis server."""
        info: Any = redis.Redis(port=self.redis.port).info("server")
        return str(info["redis_version"])

    @contextmanager
    def statement_log(self) -> Iterator[list[str]]:
        """Collect what the server executes meanwhile, one line per statement."""
        lines: list[str] = []
        with self.sql("postgres") as connection:
            connection.execute("ALTER SYSTEM SET log_line_prefix = '%a|'")
            connection.execute("ALTER SYSTEM SET log_min_duration_statement = 0")
            connection.execute("SELECT pg_reload_conf()")
            time.sleep(0.5)
            size = self.postgres.log.stat().st_size
            yield lines
            with self.postgres.log.open(errors="replace") as log:
                log.seek(size)
                # The server begins the further lines of a statement with a tab.
                lines.extend(log.read().replace("\n\t", " ").splitlines())
            connection.execute("ALTER SYSTEM SET log_min_duration_statement = -1")
            connection.execute("SELECT pg_reload_conf()")
