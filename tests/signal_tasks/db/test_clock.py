"""Times of the database's clock compare with those of Python, to the microsecond."""

from __future__ import annotations

from datetime import datetime
from itertools import count

import pytest
from django.db import connection

from signal_tasks.db.clock import from_now
from signal_tasks.models import Worker

pytestmark = pytest.mark.django_db


def stored(worker: Worker, seconds: float) -> datetime:
    """Store a time of the database, and read it."""
    rows = Worker.objects.filter(pk=worker.pk)
    rows.update(seen_at=from_now(seconds))
    return rows.values_list("seen_at", flat=True).get()


def assert_equal_in_the_database(worker: Worker, moment: datetime) -> None:
    rows = Worker.objects.filter(pk=worker.pk)
    assert rows.filter(seen_at=moment).exists()
    assert not rows.filter(seen_at__gt=moment).exists()
    assert not rows.filter(seen_at__lt=moment).exists()


@pytest.mark.parametrize("seconds", [0.0, 1.5, -3600.0])
def test_a_time_of_the_database_equals_the_one_that_is_read(seconds: float) -> None:
    worker = Worker.objects.create(name="clock@test")
    assert_equal_in_the_database(worker, stored(worker, seconds))


@pytest.mark.skipif(connection.vendor != "sqlite", reason="others compare no texts")
def test_so_does_a_whole_second_which_has_no_digits_behind_it() -> None:
    worker = Worker.objects.create(name="clock@test")
    for _ in count():  # SQLite has milliseconds: one of a thousand is looked for
        moment = stored(worker, 0.0)
        if not moment.microsecond:
            break
    assert_equal_in_the_database(worker, moment)
