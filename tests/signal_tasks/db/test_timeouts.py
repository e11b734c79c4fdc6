"""A limit of time for statements ends with its block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from signal_tasks.db.timeouts import TooSlow, statements_within

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor == "sqlite", reason="it knows no such limit"),
]

#: A statement that takes seconds.
SLOW = {
    "postgresql": "SELECT pg_sleep(5)",
    "mysql": "SELECT COUNT(*) FROM information_schema.tables WHERE SLEEP(1) = 0",
}


def ask(sql: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        (answer,) = cursor.fetchone()
        return answer


def is_mariadb() -> bool:
    mysql: Any = connection
    return bool(mysql.mysql_is_mariadb)


def limit() -> float:
    """Return the limit that holds now, in seconds."""
    if connection.vendor == "postgresql":
        name = "statement_timeout"
        found = ask(f"SELECT setting FROM pg_settings WHERE name = '{name}'")
        return float(str(found)) / 1000
    if is_mariadb():
        return float(str(ask("SELECT @@SESSION.max_statement_time")))
    return float(str(ask("SELECT @@SESSION.max_execution_time"))) / 1000


def set_limit(seconds: float) -> None:
    """Set the caller's own limit, as a project may in the options of its connection."""
    if connection.vendor == "postgresql":
        setting = f"statement_timeout = {seconds * 1000:.0f}"
    elif is_mariadb():
        setting = f"max_statement_time = {seconds}"
    else:
        setting = f"max_execution_time = {seconds * 1000:.0f}"
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION {setting}")


@pytest.fixture(autouse=True)
def _own_limit(db: None) -> Iterator[None]:
    before = limit()
    set_limit(7)
    yield
    set_limit(before)


def test_the_callers_own_limit_holds_again_afterwards() -> None:
    with statements_within(2.0, "default"):
        assert limit() == 2
        with statements_within(1.5, "default"):
            assert limit() == 1.5
        assert limit() == 2
    assert limit() == 7


@pytest.mark.django_db(transaction=True)
def test_the_limit_of_the_session_holds_again_afterwards() -> None:
    with statements_within(2.0, "default"):
        assert limit() == 2
    assert limit() == 7


def test_it_holds_again_after_a_statement_was_stopped() -> None:
    with pytest.raises(TooSlow), statements_within(0.1, "default"):
        ask(SLOW[connection.vendor])
    assert limit() == 7
