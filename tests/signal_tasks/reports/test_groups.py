"""The page of a failure group: what is its last failure, and its last dead letters."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from signal_tasks import AsyncSignal
from signal_tasks.models import Attempt, Delivery, FailureGroup
from signal_tasks.reports import groups
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


@pytest.fixture
def died_last(failing: AsyncSignal) -> Delivery:
    """A dead letter that was sent before another of its group, and died after it."""
    failing.using(delay=3600).send(sender=None)
    late: Delivery = Delivery.objects.get()
    failing.send(sender=None)
    run_pending()
    Delivery.objects.filter(pk=late.pk).update(
        available_at=F("available_at") - timedelta(hours=2)
    )
    run_pending()
    assert Delivery.objects.dead().count() == 2
    return late


def report() -> groups.GroupReport:
    found = groups.group("default", FailureGroup.objects.get().pk)
    assert found is not None
    return found


def test_the_last_failure_is_the_one_that_failed_last(died_last: Delivery) -> None:
    sample = report().sample
    assert sample is not None
    assert sample.delivery_id == died_last.pk


def test_a_failure_that_is_retried_may_be_the_last_one(died_last: Delivery) -> None:
    dead = Attempt.objects.get(delivery=died_last)
    dead.pk, dead.consequence = None, Attempt.Consequence.RETRIED
    dead.delivery = Delivery.objects.exclude(pk=died_last.pk).get()
    dead.save()
    sample = report().sample
    assert sample is not None
    assert sample.pk == dead.pk


def test_the_last_dead_letters_are_those_that_died_last(
    died_last: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAX_LETTERS", 1)
    assert [letter.pk for letter in report().letters] == [died_last.pk]


def rows_read_in_order() -> int:
    """Return how many rows this connection has read by going through a table."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read_rnd_next'")
        (_, number) = cursor.fetchone()
    return int(number)


@pytest.mark.skipif(connection.vendor != "mysql", reason="it counts what it reads")
def test_the_page_of_a_group_does_not_read_all_attempts(failing: AsyncSignal) -> None:
    failing.send(sender=None)
    run_pending()
    last = Attempt.objects.get()
    others = ("retried", "released", "deferred")
    for number in range(1000):
        last.pk, last.consequence = None, others[number % len(others)]
        last.save(force_insert=True)
    before = rows_read_in_order()
    found = report()
    assert found.sample is not None
    assert found.sample.pk == last.pk
    assert rows_read_in_order() - before < 100
