"""What a URL of a database or of a broker means for the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from environ import Env


def database_entry(url: str, *, max_age: int) -> dict[str, Any]:
    """Return Django's entry for a URL, with connections that are kept and checked."""
    entry: dict[str, Any] = {
        **Env.db_url_config(url),
        "CONN_MAX_AGE": max_age,
        "CONN_HEALTH_CHECKS": True,
    }
    if entry["ENGINE"].endswith("sqlite3"):
        Path(entry["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        # A write that begins as a read cannot wait for another writer: it fails at
        # once. IMMEDIATE takes the lock first and therefore honours the timeout.
        entry["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return entry


def transport_options(url: str) -> dict[str, Any]:
    """Return broker options that bound every wait; none of them is by default."""
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
