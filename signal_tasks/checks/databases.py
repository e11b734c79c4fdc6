"""Checks of the databases that Django is connected to."""

from __future__ import annotations

from django.apps import apps
from django.core import checks
from django.db import connections, router

from signal_tasks.checks.messages import Messages
from signal_tasks.db.aliases import outbox_aliases

SERVERS = ("postgresql", "mysql")
#: Names of the one zone whose times are the database's own.
UTC = ("UTC", "Etc/UTC")
#: How often a router is asked for a database to read from.
ASKED = 20


def times_are_stored_in_utc() -> Messages:
    """E005: due times of the database's clock and of ``using(at=...)`` would differ."""
    for alias in connections:
        connection = connections[alias]
        zone = connection.settings_dict["TIME_ZONE"]
        if connection.features.supports_timezones or zone in (None, *UTC):
            continue
        if alias in outbox_aliases():
            yield checks.Error(
                f"The database {alias!r} stores times of the zone {zone!r}, which the "
                "clock of a database without time zones does not tell.",
                hint="Remove TIME_ZONE from its settings, or keep the outbox in "
                "another database: SIGNAL_TASKS['DATABASES'].",
                id="signal_tasks.E005",
            )


def transactions_are_committed() -> Messages:
    """E009: without autocommit nothing commits a block of ``transaction.atomic``."""
    for alias in connections:
        on = connections[alias].settings_dict["AUTOCOMMIT"]
        if not on and alias in outbox_aliases():
            yield checks.Error(
                f"The database {alias!r} commits nothing by itself (AUTOCOMMIT is "
                "False), so all that a worker does is lost.",
                hint="Remove AUTOCOMMIT from its settings, or keep the outbox in "
                "another database: SIGNAL_TASKS['DATABASES'].",
                id="signal_tasks.E009",
            )


def connections_are_reused() -> Messages:
    """W003: a connection that is opened anew for every message costs throughput."""
    for alias in connections:
        conf = connections[alias].settings_dict
        if not any(server in conf["ENGINE"] for server in SERVERS):
            continue
        if conf.get("CONN_MAX_AGE") == 0 and not conf.get("OPTIONS", {}).get("pool"):
            yield checks.Warning(
                f"The database {alias!r} is connected to anew for every message and "
                "request (CONN_MAX_AGE is 0).",
                hint="Set CONN_MAX_AGE, e.g. 600, and CONN_HEALTH_CHECKS = True.",
                id="signal_tasks.W003",
            )


def connections_are_checked() -> Messages:
    """W010: connections that wait to be used again may have been closed meanwhile."""
    for alias in connections:
        conf = connections[alias].settings_dict
        if not any(server in conf["ENGINE"] for server in SERVERS):
            continue
        pool = conf.get("OPTIONS", {}).get("pool")
        if isinstance(pool, dict) and pool.get("check"):
            continue
        if (pool or conf.get("CONN_MAX_AGE") != 0) and not conf["CONN_HEALTH_CHECKS"]:
            kept = "in Django's pool " if pool else ""
            yield checks.Warning(
                f"The connections of the database {alias!r} that are kept {kept}are "
                "used again without a look: after a restart or failover of the "
                "database, requests fail with each of them.",
                hint="Set CONN_HEALTH_CHECKS = True.",
                id="signal_tasks.W010",
            )


def sqlite_can_share() -> Messages:
    """W004: SQLite's defaults make concurrent workers fail with "locked"."""
    for alias in connections:
        conf = connections[alias].settings_dict
        mode = str(conf.get("OPTIONS", {}).get("transaction_mode", "")).upper()
        if "sqlite3" in conf["ENGINE"] and mode not in ("IMMEDIATE", "EXCLUSIVE"):
            yield checks.Warning(
                f"The SQLite database {alias!r} fails with 'database is locked' when "
                "several processes write.",
                hint='Set OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20, '
                '"init_command": "PRAGMA journal_mode=WAL;"}.',
                id="signal_tasks.W004",
            )


def replicas_hold_no_outbox() -> Messages:
    """W016: what a replica had when it was late would be read back from there."""
    event_model = apps.get_model("signal_tasks", "Event")
    primary = router.db_for_write(event_model)
    # A router may choose one of several replicas at random.
    read_from = {router.db_for_read(event_model) for _ in range(ASKED)}
    for alias in sorted(read_from - {primary}):
        if alias in outbox_aliases():
            yield checks.Warning(
                f"The database {alias!r} looks like a replica, since the routers name it "
                f"for reading events and {primary!r} for writing them, and it counts as "
                "one that holds an outbox: workers would try to write to it.",
                hint="List the databases to which transactions are written in "
                "SIGNAL_TASKS['DATABASES'].",
                id="signal_tasks.W016",
            )


ALL = (
    times_are_stored_in_utc,
    transactions_are_committed,
    connections_are_reused,
    connections_are_checked,
    sqlite_can_share,
    replicas_hold_no_outbox,
)
