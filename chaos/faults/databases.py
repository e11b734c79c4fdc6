"""Faults of the database: down, full, and statements that fail."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.db import DatabaseError, connection

from chaos import journal
from chaos.environment import Environment, FaultNotInjected
from chaos.faults.catalogue import POSTGRES, SERVERS, fault
from chaos.models import Effect
from chaos.processes import send_to, with_children
from chaos.servers import StandbyServer, promote
from shop.embedded import PostgresServer
from shop.servers import Server
from signal_tasks.models import Delivery


@fault("database killed, recovers", needs=("database",), databases=SERVERS)
def database_killed(env: Environment) -> None:
    """Kill the database as a power cut would (PostgreSQL: SIGQUIT first)."""
    env.wait_until_busy()
    database = _database(env)
    journal.write("database killed")
    if env.vendor == POSTGRES and database.process is not None:
        database.process.send_signal(signal.SIGQUIT)
        database.process.wait(20)
    database.kill()
    env.wait(env.rng.uniform(0.2, 1.0))
    database.start()


@fault(
    "database stopped, started again",
    needs=("database",),
    databases=SERVERS,
    short=False,
)
def database_restarted(env: Environment) -> None:
    """Stop the database without waiting for its clients."""
    env.wait_until_busy()
    database = _database(env)
    database.stop()
    env.wait(env.rng.uniform(0.2, 1.0))
    database.start()


@fault(
    "failover to a standby, which only reads at first",
    needs=("database",),
    databases=[POSTGRES],
    may_spend_attempt=False,
    mixed=False,
)
def failover(env: Environment) -> None:
    """Kill the primary; its standby takes over the address, and is then promoted."""
    database = _database(env)
    if not isinstance(database, PostgresServer):
        raise FaultNotInjected("the database has no standby")
    with StandbyServer(database) as standby:
        execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        execute("SELECT pg_reload_conf()")
        synchronous = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        env.wait_until(lambda: execute(synchronous), "standby")
        env.wait_until_busy()
        journal.write("database killed")
        database.kill()
        standby.stop()
        standby.take_over(database)
    database.start()
    env.wait(1)
    promote(database)


@fault(
    "database paused: accepts and does not answer",
    needs=("database",),
    databases=SERVERS,
    short=False,
)
def database_paused(env: Environment) -> None:
    """Freeze the database until all leases have expired, then resume it."""
    env.wait_until_busy()
    database = _database(env)
    frozen = with_children(database.pid)
    send_to(frozen, signal.SIGSTOP)
    try:
        time.sleep(2.5)
    finally:
        send_to(frozen, signal.SIGCONT)


@fault("all database connections terminated, three times", databases=SERVERS)
def connections_terminated(env: Environment) -> None:
    """Close all connections except our own."""
    for _ in range(3):
        env.wait_until_busy()
        env.wait_until(terminate_all, "termination of connections")
        env.wait(0.5)


@fault("database connections exhausted", databases=SERVERS, short=False)
def connections_exhausted(env: Environment) -> None:
    """Close the connections of all others, and take every connection ourselves."""
    env.wait_until_busy()
    connection.ensure_connection()
    with ExitStack() as held:
        ours = _take_all_connections(held)
        terminate_all(spare=ours)
        _take_all_connections(held)
        env.wait(2)


@fault("disk full: the writes of receivers fail", short=False)
def disk_full_for_effects(env: Environment) -> None:
    """Have the database refuse the writes of receivers."""
    env.wait_until_busy()
    with _refusing(Effect._meta.db_table, "INSERT", env):
        env.wait(2)


@fault("disk full: the engine's own writes fail")
def disk_full_for_deliveries(env: Environment) -> None:
    """Have the database refuse every change of a delivery."""
    env.wait_until_busy()
    with _refusing(Delivery._meta.db_table, "UPDATE", env):
        env.wait(2)


def _database(env: Environment) -> Server:
    if env.database is None:
        raise FaultNotInjected("the database is given by URL")
    return env.database


def terminate_all(spare: Collection[int] = ()) -> bool:
    """Terminate all connections except this one and those to spare."""
    kill = "SELECT pg_terminate_backend({})"
    others = (
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()"
    )
    if connection.vendor == "mysql":
        kill = "KILL {}"
        others = (
            "SELECT id FROM information_schema.processlist "
            "WHERE id <> CONNECTION_ID() AND user <> 'system user'"
        )
    for pid in {row[0] for row in execute(others)} - set(spare):
        with suppress(DatabaseError):  # it has ended by itself
            execute(kill.format(pid))
    return True


def _take_all_connections(held: ExitStack) -> list[int]:
    """Connect until the database refuses; return the ids of the connections."""
    mine = "CONNECTION_ID()" if connection.vendor == "mysql" else "pg_backend_pid()"
    pids: list[int] = []
    while True:
        one = connection.copy()
        try:
            with one.cursor() as cursor:
                cursor.execute(f"SELECT {mine}")
                pids.append(cursor.fetchone()[0])
        except DatabaseError:
            return pids
        held.callback(one.close)


@contextmanager
def _refusing(table: str, verb: str, env: Environment) -> Iterator[None]:
    """Have every such statement on this table fail, as on a full disk."""
    create, drop = TRIGGERS[connection.vendor]
    for statement in create:
        execute(statement.format(table=table, verb=verb))
    try:
        yield
    finally:
        for statement in drop:
            execute(statement.format(table=table))


TRIGGERS: dict[str, tuple[list[str], list[str]]] = {
    "postgresql": (
        [
            "CREATE OR REPLACE FUNCTION chaos_refuse() RETURNS trigger AS $$ BEGIN "
            "RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; "
            "END $$ LANGUAGE plpgsql",
            "CREATE TRIGGER chaos_full BEFORE {verb} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION chaos_refuse()",
        ],
        ["DROP TRIGGER chaos_full ON {table}"],
    ),
    "mysql": (
        [
            "CREATE TRIGGER chaos_full BEFORE {verb} ON {table} FOR EACH ROW "
            "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, "
            "MESSAGE_TEXT = 'The table is full'"
        ],
        ["DROP TRIGGER chaos_full"],
    ),
    "sqlite": (
        [
            "CREATE TRIGGER chaos_full BEFORE {verb} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        ],
        ["DROP TRIGGER chaos_full"],
    ),
}


def execute(statement: str) -> list[tuple[Any, ...]]:
    """Execute a statement; return its rows, if it has any."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
