"""Pruning gives an event the time to settle, and leaves nothing of it that waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, operations
from signal_tasks.models import Delivery, Event
from signal_tasks.relay.pruning import prune_batch
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.settling.steps import (
    fail,
    finish_ago,
    hear_settled,
    let_pass,
    look_as_a_relay,
    run,
    settlings,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _keeps_five_minutes(settings: Any) -> None:
    keeps = {"KEEP_SUCCEEDED": timedelta(minutes=5)}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **keeps}


def test_an_event_that_nobody_has_looked_at_is_not_pruned_before_it_settles(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    hear_settled(signal, name="t.settled")
    signal.send(sender=None)
    finish_ago(timedelta(hours=1))
    assert prune_batch("default") == 0
    let_pass(11)
    assert look_as_a_relay() == 1
    assert prune_batch("default") == 1
    assert settlings(signal) == 1


def test_after_a_late_replay_outcomes_are_those_of_what_is_kept(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.works")
    fail(signal, name="t.fails")
    calls = hear_settled(signal)
    signal.send(sender=None)
    run_pending()
    works = Delivery.objects.filter(receiver="t.works")
    works.update(finished_at=F("finished_at") - timedelta(hours=1))
    assert prune_batch("default") == 1
    operations.replay(operations.Selection(receiver="t.fails", state="dead"))
    run_pending()
    assert [call["outcomes"] for call in calls] == [
        {"t.works": "succeeded", "t.fails": "dead"},
        {"t.fails": "dead"},
    ]


def test_outcomes_of_what_took_long_are_complete(signal: AsyncSignal) -> None:
    listen(signal, name="t.quick")
    listen(signal, name="t.slow")
    calls = hear_settled(signal)
    signal.send(sender=None)
    run("t.quick")
    quick = Delivery.objects.filter(receiver="t.quick")
    quick.update(finished_at=F("finished_at") - timedelta(hours=1))
    prune_batch("default")
    run_pending()
    assert [sorted(call["outcomes"]) for call in calls] == [["t.quick", "t.slow"]]


def test_what_never_settles_is_pruned_a_week_later_and_waits_no_more(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    hear_settled(signal)
    signal.send(sender=None)
    finish_ago(timedelta(days=7, minutes=4))
    assert prune_batch("default") == 0
    finish_ago(timedelta(days=7, minutes=6))
    assert prune_batch("default") == 1
    assert not Event.objects.exists()
    assert not waiting()


def test_where_nobody_hears_it_pruning_does_not_look(signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None)
    finish_ago(timedelta(hours=1))
    with CaptureQueriesContext(connection) as queries:
        assert prune_batch("default") == 1
    assert not [q for q in queries.captured_queries if "unsettled" in q["sql"]]


def test_a_relay_forgets_what_pruning_has_left_where_nobody_hears_it_any_more(
    signal: AsyncSignal,
) -> None:
    def heard(sender: object, **kwargs: Any) -> None:
        """Hear of it in a former release only."""

    listen(signal, name="t.only")
    signal.settled.connect(heard, name="t.former", weak=False)
    signal.send(sender=None)
    finish_ago(timedelta(hours=1))
    signal.send(sender=None)
    signal.settled.disconnect(heard)
    assert prune_batch("default") == 1
    assert len(waiting()) == 2
    relay = Relay("relay@test")
    try:
        relay.run_once()
    finally:
        relay.close()
    assert waiting() == {Event.objects.get().pk}
