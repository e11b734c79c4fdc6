"""A page counts up to a limit, and no statement of it runs for long."""

from __future__ import annotations

import pytest
from django.db import connection

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery
from signal_tasks.reports import bounds
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db

#: A statement that takes seconds.
SLOW = {
    "postgresql": "SELECT pg_sleep(5)",
    "mysql": "SELECT COUNT(*) FROM information_schema.tables WHERE SLEEP(1) = 0",
}


@pytest.mark.parametrize(
    ("limit", "said"), [(2, "more than 2"), (3, "3"), (10_000, "3")]
)
def test_rows_are_counted_up_to_a_limit(
    signal: AsyncSignal, limit: int, said: str
) -> None:
    listen(signal)
    for _ in range(3):
        signal.send(sender=None)
    assert str(bounds.count(Delivery.objects.all(), limit)) == said


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it knows no such limit")
def test_a_statement_that_takes_too_long_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "STATEMENT_SECONDS", 0.2)
    with (
        pytest.raises(bounds.TooSlow),
        bounds.bounded_statements("default"),
        connection.cursor() as cursor,
    ):
        cursor.execute(SLOW[connection.vendor])
