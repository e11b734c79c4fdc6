"""Translate the URLs of databases and brokers for Django and Celery."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import environ


def database_entry(url: str) -> dict[str, Any]:
    """Return Django's database settings for a URL, with persistent connections."""
    entry: dict[str, Any] = environ.Env.db_url_config(url)
    entry |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
    if entry["ENGINE"].endswith("sqlite3"):
        entry["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    if entry["ENGINE"].endswith("postgresql"):
        entry["OPTIONS"] = {"connect_timeout": 5}
    if entry["ENGINE"].endswith("mysql"):
        entry["OPTIONS"] = {**mysql_options(entry["HOST"]), "connect_timeout": 5}
    return entry


def mysql_options(host: str) -> dict[str, Any]:
    """Return the options of mysqlclient; of PyMySQL, if that is not installed.

    mysqlclient needs a compiler. PyMySQL reads all certificates of the machine at each
    connect, also to a server that has no TLS: here that takes longer than the tests.
    """
    options: dict[str, Any] = {"charset": "utf8mb4"}
    if find_spec("MySQLdb") in (None, find_spec("pymysql")):
        import_module("pymysql").install_as_MySQLdb()
        options["ssl_disabled"] = host == "127.0.0.1"
    return options


def transport_options(url: str) -> dict[str, Any]:
    """Return options that limit every wait for the broker."""
    if url.startswith("redis:"):
        return {
            "socket_timeout": 2,
            "socket_connect_timeout": 1,
            "health_check_interval": 5,
            "visibility_timeout": 60,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        }
    if url.startswith("amqp:"):
        return {"read_timeout": 2, "write_timeout": 2, "max_retries": 1}
    return {}
