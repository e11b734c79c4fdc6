"""The databases of a test run, for the tests and for the workers that they start.

``TEST_DATABASE`` chooses: ``sqlite`` (the default), ``postgres`` (a server of our own
from a wheel), ``mariadb`` (one from the machine's package), or the URL of a server.
``TEST_LIVE`` tells a worker process to use the test databases that the tests have made.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path
from typing import Any

import environ

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


def databases() -> dict[str, dict[str, Any]]:
    """Return Django's DATABASES: default, another one, a replica of the default."""
    chosen = os.environ.get("TEST_DATABASE", "sqlite")
    if chosen == "sqlite":
        default, other = (_sqlite(alias) for alias in ("default", "other"))
    else:
        url = _started(chosen) if chosen in ("postgres", "mariadb") else chosen
        default, other = (_server(url, alias) for alias in ("default", "other"))
    replica = {**default, "TEST": {"MIRROR": "default"}}
    return {"default": default, "other": other, "replica": replica}


def _sqlite(alias: str) -> dict[str, Any]:
    folder = Path(os.environ.setdefault("TEST_FOLDER", tempfile.mkdtemp()))
    name = str(folder / f"{alias}.sqlite3")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": SQLITE_OPTIONS,
        "CONN_MAX_AGE": 600,
        "TEST": {"NAME": name},
    }


def _server(url: str, alias: str) -> dict[str, Any]:
    entry: dict[str, Any] = environ.Env.db_url_config(url)
    test_name = f"test_signal_tasks_{alias}"
    entry |= {
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "TEST": {"NAME": test_name},
    }
    if entry["ENGINE"].endswith("mysql"):
        from chaos.connections import mysql_options

        entry["OPTIONS"] = mysql_options(entry["HOST"])
        entry["TEST"]["CHARSET"] = "utf8mb4"
    if "TEST_LIVE" in os.environ:
        entry["NAME"] = test_name
    return entry


def _started(kind: str) -> str:
    """Return the URL of a server of our own, which ends with the tests."""
    if "TEST_SERVER_URL" not in os.environ:
        server = _server_of(kind)
        server.start()
        atexit.register(server.close)
        os.environ["TEST_SERVER_URL"] = server.url
    return os.environ["TEST_SERVER_URL"]


def _server_of(kind: str) -> Any:
    """Make the server. Only a run that needs one imports what starts it."""
    from tests.servers import MariaServer, PostgresServer

    return MariaServer() if kind == "mariadb" else PostgresServer()
