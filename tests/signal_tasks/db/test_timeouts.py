"""A limit of time for statements ends with its block."""

from __future__ import annotations

import pytest
from django.db import connection

from signal_tasks.db.timeouts import TooSlow, statements_within

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="it tells its limit"),
]


def limit() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        (shown,) = cursor.fetchone()
        return str(shown)


def test_the_callers_own_limit_holds_again_afterwards() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '7s'")
    with statements_within(2.0, "default"):
        assert limit() == "2s"
    assert limit() == "7s"


def test_it_holds_again_after_a_statement_was_stopped() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '7s'")
        with pytest.raises(TooSlow), statements_within(0.1, "default"):
            cursor.execute("SELECT pg_sleep(5)")
    assert limit() == "7s"
