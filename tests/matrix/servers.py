"""The servers that a run shares: each combination has a database and a Redis of its own.

They end with the thread that starts them, so the main thread starts them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg
import psycopg.sql
import pymysql  # type: ignore[import-untyped]

from tests.matrix.combinations import ON_MARIADB
from tests.servers import MariaServer, PostgresServer, RedisServer

REDIS_DATABASES = 16
SERVERS: dict[str, Callable[[], MariaServer | PostgresServer]] = {
    "mysql": MariaServer,
    "postgresql": PostgresServer,
}


class Servers:
    """Redis, and the databases that the drivers reach."""

    def __init__(self, folder: Path, drivers: Iterable[str]) -> None:
        self.folder = folder
        self.engines = {_engine(driver) for driver in drivers}
        self.open = ExitStack()
        self.urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # one that does not start ends those before it
            redis = stack.enter_context(RedisServer(self.folder / "redis"))
            self.redis = redis.url.rpartition("/")[0]
            for engine in self.engines & set(SERVERS):
                self.urls[engine] = stack.enter_context(SERVERS[engine]()).url
            self.open = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self.open.close()

    def broker(self, number: int) -> str:
        """Return a database of Redis that is not used at the same time."""
        return f"{self.redis}/{number % REDIS_DATABASES}"

    def database(self, driver: str, number: int, folder: Path) -> dict[str, Any]:
        """Return Django's entry of a database that is made for this number."""
        name = f"smoke_{number}"
        engine = _engine(driver)
        if engine == "sqlite3":
            return {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "smoke.sqlite3"),
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
            }
        entry = self._entry(engine, name)
        if engine == "mysql":
            self._make_on_mariadb(name)
            return entry | {"OPTIONS": {"charset": "utf8mb4"}}
        self._make_on_postgres(name)
        if "pool" in driver:  # Django keeps no connection besides those of the pool
            entry |= {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": True}}
        return entry

    def _entry(self, engine: str, name: str) -> dict[str, Any]:
        url = urlsplit(self.urls[engine])
        return {
            "ENGINE": f"django.db.backends.{engine}",
            "NAME": name,
            "USER": url.username,
            "HOST": url.hostname,
            "PORT": url.port,
            "CONN_MAX_AGE": 600,
            "CONN_HEALTH_CHECKS": True,
        }

    def _make_on_postgres(self, name: str) -> None:
        statement = psycopg.sql.SQL("CREATE DATABASE {}")
        with psycopg.connect(self.urls["postgresql"], autocommit=True) as connection:
            connection.execute(statement.format(psycopg.sql.Identifier(name)))

    def _make_on_mariadb(self, name: str) -> None:
        url = urlsplit(self.urls["mysql"])
        connection = pymysql.connect(host=url.hostname, port=url.port or 0, user="root")
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")


def _engine(driver: str) -> str:
    if driver == "sqlite":
        return "sqlite3"
    return "mysql" if driver in ON_MARIADB else "postgresql"
