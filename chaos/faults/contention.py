"""Faults of transactions that are in each other's way: deadlocks, conflicts, a lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.models import Sum

from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import POSTGRES, SERVERS, SQLITE, fault
from chaos.faults.databases import execute, terminate_all
from chaos.models import Account, Effect
from chaos.signals import contended
from signal_tasks.models import Delivery

#: Events whose two receivers contend for the same rows.
CONTENDED_EVENTS = 12


@fault(
    "deadlocks between two receivers",
    databases=SERVERS,
    while_busy=False,
    mixed=False,
)
def deadlock(env: Environment) -> None:
    """Have two receivers change the same rows in opposite order."""
    before = _deadlocks()
    with _sessions_with("deadlock_timeout", "100ms", "1s"):
        _contend(env)
    # PostgreSQL counts with a delay.
    env.wait_until(lambda: _deadlocks() > before, "deadlock", 5)


@fault(
    "serialization failures between receivers",
    databases=[POSTGRES],
    while_busy=False,
    mixed=False,
    short=False,
)
def serialization(env: Environment) -> None:
    """Do the same where the second to change a row fails at once."""
    name = "default_transaction_isolation"
    with (
        _sessions_with("deadlock_timeout", "100ms", "1s"),
        _sessions_with(name, "repeatable read", "read committed"),
    ):
        _contend(env)


@fault("database locked by another program for 3 s", databases=[SQLITE], short=False)
def locked(env: Environment) -> None:
    """Hold SQLite's only write lock for 3 s."""
    env.wait_until_busy()
    with transaction.atomic():
        Account.objects.get_or_create(name="lock")
        env.wait(3)


@contextmanager
def _sessions_with(name: str, value: str, default: str) -> Iterator[None]:
    """Change the default of a PostgreSQL setting, and have all connect again."""
    if connection.vendor != "postgresql":
        yield
        return
    execute(f"ALTER ROLE CURRENT_USER SET {name} TO '{value}'")
    terminate_all()
    try:
        yield
    finally:
        execute(f"ALTER ROLE CURRENT_USER SET {name} TO '{default}'")
        terminate_all()


def _contend(env: Environment) -> None:
    """Have two receivers change the same two accounts, and count the changes."""
    names = ["one", "other"]
    for name in names:
        Account.objects.update_or_create(name=name, defaults={"changes": 0})
    Effect.objects.filter(kind__in=("forwards", "backwards")).delete()
    for number in range(CONTENDED_EVENTS):
        contended.send(None, key=f"contended-{number}", names=names)
    live = Delivery.objects.live().filter(event__signal=contended.name)
    env.expect(lambda: not live.exists(), "end of contended deliveries", 60)
    changes = Account.objects.filter(name__in=names).aggregate(n=Sum("changes"))["n"]
    effects = Effect.objects.filter(kind__in=("forwards", "backwards")).count()
    expected = (CONTENDED_EVENTS * 4, CONTENDED_EVENTS * 2)
    if (changes, effects) != expected:
        raise PromiseBroken(f"{changes} changes and {effects} effects, not {expected}")


def _deadlocks() -> int:
    """Return the number of deadlocks that the server has counted."""
    if connection.vendor == "mysql":
        return int(execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")[0][1])
    execute("SELECT pg_stat_clear_snapshot()")
    counted = execute("SELECT sum(deadlocks) FROM pg_stat_database")
    return int(counted[0][0])
