"""Deliveries of a key run one at a time, in the order of their commits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from signal_tasks.db.clock import from_now
from signal_tasks.models import Attempt, Delivery, Turn
from signal_tasks.signals import DeliveriesReleased, deliveries_released
from signal_tasks.states import State
from tests.signal_tasks.ordering.steps import (
    AT_ONCE,
    LATER,
    ONCE,
    Ordered,
    positions,
    rolled_back,
    row,
)

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("atomic", [True, False])


def test_a_message_in_the_wrong_order_runs_in_the_right_one() -> None:
    ordered = Ordered()
    handles = ordered.send_all(range(5))
    ordered.run(*reversed(handles))
    assert ordered.calls == [0, 1, 2, 3, 4]
    assert not Turn.objects.exists()


@both
def test_nothing_runs_before_what_comes_before_it(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic)
    _first, second, third = ordered.send_all(range(3))
    ordered.run(second, third)
    assert ordered.calls == []
    assert ordered.states() == ["pending"] * 3
    assert row(second).attempts == 0


@both
def test_a_message_goes_on_with_what_follows(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic)
    first, *_ = ordered.send_all(range(30))
    ordered.run(first)
    assert ordered.calls == list(range(30))
    assert set(ordered.states()) == {"succeeded"}


def test_other_keys_are_not_kept_waiting() -> None:
    ordered = Ordered()
    ordered.send("first of a", key="a")
    behind = ordered.send("second of a", key="a")
    other = ordered.send("first of b", key="b")
    ordered.run(behind, other)
    assert ordered.calls == ["first of b"]


@both
def test_what_waits_for_a_retry_keeps_its_followers_waiting(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic, retry=LATER)
    ordered.failing = {1}
    handles = ordered.send_all(range(4))
    ordered.run(*handles)
    assert [n for n in ordered.calls if n > 1] == []
    assert ordered.states() == ["succeeded", "pending", "pending", "pending"]
    assert [row(handle).attempts for handle in handles] == [1, 1, 0, 0]
    assert Attempt.objects.count() == 1


@both
def test_a_retry_that_succeeds_lets_its_followers_run(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic, retry=AT_ONCE)
    ordered.failing = {1}
    handles = ordered.send_all(range(4))
    ordered.run(*handles)
    ordered.failing = set()
    ordered.calls.clear()
    ordered.run(handles[1])
    assert ordered.calls == [1, 2, 3]
    assert set(ordered.states()) == {"succeeded"}


@both
def test_a_dead_letter_blocks_its_key(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic, retry=ONCE)
    ordered.rejected = {1}
    handles = ordered.send_all(range(4))
    ordered.run(*handles)
    ordered.run(*handles[2:])
    assert ordered.states() == ["succeeded", "dead", "pending", "pending"]
    assert [row(handle).attempts for handle in handles[2:]] == [0, 0]


@both
def test_a_dead_letter_that_is_skipped_blocks_nothing(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic, on_dead="skip", retry=ONCE)
    ordered.rejected = {1}
    handles = ordered.send_all(range(4))
    ordered.run(*handles)
    assert ordered.states() == ["succeeded", "dead", "succeeded", "succeeded"]
    assert ordered.calls[-2:] == [2, 3]


@both
def test_a_replayed_dead_letter_runs_before_those_behind_it(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic, retry=ONCE)
    ordered.rejected = {0}
    handles = ordered.send_all(range(3))
    ordered.run(*handles)
    ordered.rejected = set()
    ordered.calls.clear()
    Delivery.objects.filter(pk=handles[0].id).replay()
    ordered.run(*reversed(handles))
    assert ordered.calls == [0, 1, 2]


def test_a_skipped_dead_letter_that_is_replayed_runs_out_of_order() -> None:
    ordered = Ordered(on_dead="skip", retry=ONCE)
    ordered.rejected = {0}
    handles = ordered.send_all(range(2))
    ordered.run(*handles)
    ordered.rejected = set()
    Delivery.objects.filter(pk=handles[0].id).replay()
    ordered.run(handles[0])
    assert ordered.calls[-2:] == [1, 0]


def test_it_may_run_beside_another_one_of_its_key() -> None:
    ordered = Ordered(on_dead="skip", retry=ONCE)
    ordered.rejected = {0}
    first = ordered.send(0)
    ordered.run(first)
    ordered.rejected = set()
    Delivery.objects.filter(pk=first.id).replay()
    ordered.during = lambda n: ordered.run(first) if n == 1 else None
    ordered.run(ordered.send(1))
    assert ordered.calls == [0, 1, 0]
    assert ordered.states() == [State.SUCCEEDED, State.SUCCEEDED]


def connected_anew(old: Ordered, *, ordered: bool) -> Ordered:
    """Connect a receiver of the same name, as the next deploy does."""
    new = Ordered(name=old.name, ordered=ordered, retry=ONCE)
    new.name, new.signal = old.name, old.signal
    return new


def test_what_is_pending_runs_in_any_order_once_it_is_not_ordered() -> None:
    old = Ordered(retry=ONCE)
    old.rejected = {0}
    handles = old.send_all(range(3))
    old.run(*handles)
    new = connected_anew(old, ordered=False)
    new.run(handles[2])
    new.run(handles[1])
    assert new.calls == [2, 1]


def test_if_it_becomes_ordered_again_its_dead_letter_blocks_and_no_other() -> None:
    old = Ordered(retry=ONCE)
    old.rejected = {0}
    handles = old.send_all(range(2))
    old.run(*handles)
    connected_anew(old, ordered=False).run(handles[1])
    again = connected_anew(old, ordered=True)
    later = old.send(2)
    again.run(later)
    assert again.calls == []
    Delivery.objects.filter(pk=handles[0].id).replay()
    again.run(handles[0])
    assert again.calls == [0, 2]


@pytest.mark.parametrize("which", [0, 1])
def test_a_discarded_delivery_gives_its_turn_up(which: int) -> None:
    ordered = Ordered()
    handles = ordered.send_all(range(3))
    Delivery.objects.filter(pk=handles[which].id).discard()
    assert positions(*handles)[which] is None
    left = [handle for handle in handles if handle is not handles[which]]
    ordered.run(left[0])
    assert ordered.calls == [n for n in range(3) if n != which]


def test_a_discarded_dead_letter_makes_its_follower_due() -> None:
    ordered = Ordered(retry=ONCE)
    ordered.rejected = {0}
    first, second = ordered.send_all(range(2))
    ordered.run(first, second)
    assert not is_due(second)
    Delivery.objects.filter(pk=first.id).discard()
    assert is_due(second)


def test_a_pruned_dead_letter_makes_its_follower_due() -> None:
    ordered = Ordered(retry=ONCE)
    ordered.rejected = {0}
    first, second = ordered.send_all(range(2))
    ordered.run(first, second)
    Delivery.objects.prune(State.DEAD, older_than=timedelta(0), limit=10)
    assert not Delivery.objects.filter(pk=first.id).exists()
    assert is_due(second)
    ordered.run(second)
    assert ordered.calls[-1] == 1


def test_what_was_deleted_by_hand_blocks_nothing() -> None:
    ordered = Ordered()
    first, second = ordered.send_all(range(2))
    Delivery.objects.filter(pk=first.id).delete()
    ordered.run(second)
    assert ordered.calls == [1]


def test_what_another_worker_runs_keeps_its_followers_waiting() -> None:
    ordered = Ordered()
    first, second, third = ordered.send_all(range(3))
    ordered.during = lambda n: n or ordered.run(second, third)
    ordered.run(first)
    assert ordered.calls == [0, 1, 2]


def test_a_delayed_delivery_keeps_its_followers_waiting() -> None:
    ordered = Ordered()
    ordered.send(0, delay=3600)
    second = ordered.send(1)
    ordered.run(second)
    assert ordered.calls == []


def test_a_rolled_back_send_leaves_no_gap() -> None:
    ordered = Ordered()
    first = ordered.send(0)
    rolled_back(lambda: ordered.send(1))
    second = ordered.send(2)
    assert positions(first, second) == [1, 2]


def test_what_waits_is_not_published_again_soon() -> None:
    ordered = Ordered(retry=LATER)
    ordered.failing = {0}
    first, *others = ordered.send_all(range(3))
    ordered.run(first, *others)
    soon = Delivery.objects.filter(next_check_at__lte=from_now(30), state="pending")
    assert not soon.exists()


def test_the_follower_is_due_soon_should_its_worker_die() -> None:
    ordered = Ordered(retry=LATER)
    first, second = ordered.send_all(range(2))
    ordered.run(second)
    ordered.run(first, follows=False)
    assert ordered.calls == [0]
    soon = Delivery.objects.filter(next_check_at__lte=from_now(5), state="pending")
    assert [each.pk for each in soon] == [second.id]


def test_a_message_whose_time_is_up_leaves_the_rest_in_order() -> None:
    ordered = Ordered()
    handles = ordered.send_all(range(3))
    ordered.run(handles[0], seconds=0)
    assert ordered.calls == [0]
    ordered.run(handles[2], seconds=0)
    assert ordered.calls == [0]
    ordered.run(handles[1])
    assert ordered.calls == [0, 1, 2]


def test_a_message_whose_time_is_up_publishes_no_more_than_comes_next(
    connected: Callable[..., None],
) -> None:
    ordered = Ordered()
    first, *others = ordered.send_all(range(20))
    other_key, *_ = ordered.send_all(range(20, 40), key="another")
    released: list[int] = []

    def note(details: DeliveriesReleased, **kwargs: Any) -> None:
        released.append(details.count)

    connected(deliveries_released, note)
    ordered.run(first, other_key, *others, seconds=0)
    assert len(ordered.calls) < 20
    assert sum(released) <= 2


def is_due(handle: Any) -> bool:
    rows = Delivery.objects.filter(pk=handle.id, next_check_at__lte=from_now(0))
    return bool(rows.exists())
