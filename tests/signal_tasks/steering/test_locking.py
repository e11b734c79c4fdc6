"""The lock on the gate of a receiver, for those who are the first to need it."""

from __future__ import annotations

import time

import pytest
from django.db import connection, transaction

from signal_tasks.models import Gate
from signal_tasks.steering.locking import lock_gate
from tests.signal_tasks.once.steps import at_once

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time"),
]


def test_those_who_are_the_first_at_once_lock_it_one_after_the_other() -> None:
    inside: list[int] = []

    def lock(n: int) -> int:
        with transaction.atomic():
            lock_gate("tests.first", "default")
            inside.append(n)
            time.sleep(0.01)
            alone = inside == [n]
            inside.remove(n)
        return alone

    for _ in range(5):
        Gate.objects.all().delete()
        answers, errors = at_once(16, lock)
        assert errors == []
        assert all(answers)
