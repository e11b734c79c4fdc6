"""What is counted, and what is read for it."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, Reject, counting
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db


@pytest.fixture
def without_partial_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.features, "supports_partial_indexes", False)


def leave_dead_letters(signal: AsyncSignal, *, replayed: int, dead: int) -> None:
    """Leave some that were replayed and have succeeded, and later ones that are dead."""
    refuses = True

    def receiver(sender: object, **kwargs: object) -> None:
        if refuses:
            raise Reject("on purpose")

    signal.connect(receiver, name="t.counted", weak=False)
    signal.send_many(sender=None, items=[{}] * replayed)
    run_pending()
    refuses = False
    Delivery.objects.dead().replay()
    run_pending()
    refuses = True
    signal.send_many(sender=None, items=[{}] * dead)
    run_pending()


@pytest.mark.usefixtures("without_partial_indexes")
def test_dead_letters_are_counted_beside_many_that_were_replayed(
    signal: AsyncSignal,
) -> None:
    leave_dead_letters(signal, replayed=3, dead=2)
    found = counting.dead("default", limit=3)
    assert found.numbers == {"t.counted": 2}
    assert found.is_capped


@pytest.mark.usefixtures("without_partial_indexes")
def test_all_dead_letters_are_counted_if_all_attempts_were_read(
    signal: AsyncSignal,
) -> None:
    leave_dead_letters(signal, replayed=3, dead=2)
    found = counting.dead("default", limit=6)
    assert found.numbers == {"t.counted": 2}
    assert not found.is_capped


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it explains its plans")
def test_the_turns_before_a_delivery_are_looked_for_once(signal: AsyncSignal) -> None:
    listen(signal, name="t.in_order", ordered=True)
    signal.using(key="a").send(sender=None)
    with CaptureQueriesContext(connection) as queries:
        counting.loads("default")
    sql = queries[-1]["sql"]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}".replace("%", "%%"), ())
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert plan.count("on signal_tasks_turn other") == 1, plan
