"""Turn the URLs of database and broker into settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from environ import Env


def database_entry(url: str, *, max_age: int) -> dict[str, Any]:
    """Return an entry of ``DATABASES`` with persistent, checked connections."""
    entry: dict[str, Any] = {
        **Env.db_url_config(url),
        "CONN_MAX_AGE": max_age,
        "CONN_HEALTH_CHECKS": True,
    }
    if entry["ENGINE"].endswith("sqlite3"):
        Path(entry["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        # SQLite does not wait when a transaction that began with a read wants to
        # write: it fails at once. IMMEDIATE locks first, and waits for the timeout.
        entry["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return entry


def transport_options(url: str) -> dict[str, Any]:
    """Return broker options that bound every wait; by default none is bounded."""
    if not url.startswith(("redis:", "rediss:")):
        return {"read_timeout": 5, "write_timeout": 5, "max_retries": 1}
    return {
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "visibility_timeout": 300,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.2,
    }
