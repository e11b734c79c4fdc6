"""What is counted on a database without partial indexes, by the failed attempts."""

from __future__ import annotations

import pytest
from django.db import connection

from signal_tasks import AsyncSignal, Reject, counting
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
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


def test_dead_letters_are_counted_beside_many_that_were_replayed(
    signal: AsyncSignal,
) -> None:
    leave_dead_letters(signal, replayed=3, dead=2)
    found = counting.dead("default", limit=3)
    assert found.numbers == {"t.counted": 2}
    assert found.is_capped


def test_all_dead_letters_are_counted_if_all_attempts_were_read(
    signal: AsyncSignal,
) -> None:
    leave_dead_letters(signal, replayed=3, dead=2)
    found = counting.dead("default", limit=6)
    assert found.numbers == {"t.counted": 2}
    assert not found.is_capped
