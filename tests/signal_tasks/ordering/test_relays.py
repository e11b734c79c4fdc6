"""Relays: what they publish, recover and delete of ordered deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.models import Delivery, Sequence, Turn
from signal_tasks.relay.recovery import recover
from signal_tasks.states import State
from signal_tasks.steering.turns import Sweep, sweep
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import finish
from tests.signal_tasks.ordering.steps import (
    AT_ONCE,
    ONCE,
    Ordered,
    lose,
    positions,
    row,
)

pytestmark = pytest.mark.django_db(transaction=True)


def swept(times: int = 1) -> None:
    state = Sweep()
    for _ in range(times):
        sweep(state, database="default")


def test_what_a_dead_worker_held_runs_again_in_its_order() -> None:
    ordered = Ordered()
    handles = ordered.send_all(range(4))
    lose(ordered, *handles[:3])
    ordered.run(handles[3])
    assert recover("default") == 3
    ordered.run(handles[2])
    ordered.run(handles[1], handles[2], handles[3])
    assert ordered.calls == []
    ordered.run(handles[0])
    assert ordered.calls == [0, 1, 2, 3]
    assert {each.attempts for each in Delivery.objects.all()} == {1}


def test_what_died_alone_and_is_skipped_lets_the_next_run() -> None:
    ordered = Ordered(on_dead="skip", retry=ONCE)
    handles = ordered.send_all(range(2))
    lose(ordered, handles[0])
    recover("default")
    assert row(handles[0]).reason == "lost"
    assert positions(*handles) == [None, 2]


def test_what_died_alone_blocks_its_key() -> None:
    ordered = Ordered(retry=ONCE)
    handles = ordered.send_all(range(2))
    lose(ordered, handles[0])
    recover("default")
    assert positions(*handles) == [1, 2]
    ordered.run(handles[1])
    assert ordered.calls == []


def test_turns_of_deleted_deliveries_are_deleted_and_the_next_made_due() -> None:
    ordered = Ordered()
    first, second = ordered.send_all(range(2))
    ordered.run(second)
    Delivery.objects.filter(pk=first.id).delete()
    swept()
    assert positions(first, second) == [None, 2]
    assert Delivery.objects.filter(next_check_at__lte=DatabaseNow()).count() == 1


def test_turns_that_older_code_has_left_behind_are_deleted() -> None:
    """A worker that does not know of turns finishes a delivery without its turn."""
    ordered = Ordered()
    first, second = ordered.send_all(range(2))
    done = {"state": "succeeded", "next_check_at": None, "finished_at": DatabaseNow()}
    Delivery.objects.filter(pk=first.id).update(**done)
    ordered.run(second)
    assert ordered.calls == [1]
    assert not Turn.objects.exists()


def test_a_message_deletes_what_older_code_has_left_one_after_the_other() -> None:
    ordered = Ordered()
    *done, last = ordered.send_all(range(4))
    for handle in done:
        finish(Delivery.objects.filter(pk=handle.id), State.SUCCEEDED)
    ordered.run(last)
    assert ordered.calls == [3]
    assert not Turn.objects.exists()


def test_a_sequence_that_is_not_used_is_deleted_in_the_second_look() -> None:
    ordered = Ordered()
    ordered.run(ordered.send(0, key="done"))
    waiting = ordered.send(0, key="waiting")
    swept()
    assert Sequence.objects.count() == 2
    swept(2)
    assert Sequence.objects.count() == 1
    assert positions(waiting) == [1]


def test_a_sequence_that_was_used_meanwhile_stays() -> None:
    ordered = Ordered()
    ordered.run(ordered.send(0))
    state = Sweep()
    sweep(state, database="default")
    ordered.run(ordered.send(1))
    sweep(state, database="default")
    assert Sequence.objects.get().last == 2


def test_a_key_goes_on_behind_a_sequence_that_was_deleted() -> None:
    ordered = Ordered()
    ordered.run(ordered.send(0))
    swept(2)
    handles = ordered.send_all([1, 2])
    ordered.run(*handles)
    assert ordered.calls == [0, 1, 2]


def test_what_waits_behind_a_blocked_key_is_looked_at_ever_more_seldom() -> None:
    ordered = Ordered(retry=ONCE)
    ordered.rejected = {0}
    first, second = ordered.send_all(range(2))
    ordered.run(first, second)
    waits = []
    for _ in range(8):
        waits.append(round((row(second).next_check_at - now()).total_seconds()))
        ordered.run(second)
    assert waits == sorted(waits)
    assert waits[0] == 60
    assert waits[-1] == 3600


def now() -> Any:
    return Delivery.objects.annotate(now=DatabaseNow()).values_list("now")[0][0]


def test_run_pending_runs_in_order_whatever_the_shuffle() -> None:
    ordered = Ordered(retry=AT_ONCE)
    ordered.send_all(range(20))
    run_pending(shuffle=3)
    assert ordered.calls == list(range(20))


@pytest.mark.parametrize("atomic", [True, False])
def test_run_pending_runs_each_twice_before_the_next(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic)
    ordered.send_all(range(3))
    run_pending(twice=True)
    twice = [0, 0, 1, 1, 2, 2]
    assert ordered.calls == ([0, 1, 2] if atomic else twice)


def test_run_pending_ends_behind_a_dead_letter() -> None:
    ordered = Ordered(retry=ONCE)
    ordered.rejected = {1}
    ordered.send_all(range(4))
    ran = run_pending()
    assert ordered.calls == [0, 1]
    assert [handle.state for handle in ran] == ["succeeded", "dead"]


def test_what_is_old_enough_to_be_pruned_keeps_its_turn_until_then() -> None:
    ordered = Ordered(retry=ONCE)
    ordered.rejected = {0}
    first, second = ordered.send_all(range(2))
    ordered.run(first, second)
    Delivery.objects.filter(pk=first.id).update(
        finished_at=F("finished_at") - timedelta(days=1)
    )
    Delivery.objects.prune(State.DEAD, older_than=timedelta(days=2), limit=10)
    assert positions(first, second) == [1, 2]
    Delivery.objects.prune(State.DEAD, older_than=timedelta(hours=2), limit=10)
    assert positions(first, second) == [None, 2]
    assert Delivery.objects.filter(next_check_at__lte=from_now(0)).count() == 1
