"""Operations with real workers: canaries, cancelling, and relays that are killed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction

from signal_tasks import AsyncSignal, operations
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.models import Delivery, OperationItem
from signal_tasks.operations import Operation, Selection
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    keys,
    states,
)
from tests.testapp.receivers import note_outside
from tests.testapp.signals import failed, happened, inside

HOUR = timedelta(hours=1)


def die(signal: AsyncSignal, number: int, **kwargs: Any) -> Selection:
    """Leave so many dead letters of the signal; return what selects them."""
    items = [{"key": key, **kwargs} for key in range(number)]
    with transaction.atomic():
        signal.send_many(sender=None, items=items)
        rows = Delivery.objects.filter(event__signal=signal.name, state="pending")
        rows.update(state="dead", next_check_at=None, finished_at=DatabaseNow())
    return Selection(signal=signal.name, state="dead")


def numbers(operation: Operation) -> tuple[int | None, int, int, int]:
    operation.refresh()
    return operation.total, operation.done, operation.failed, operation.skipped


def test_a_canary_replays_everything_once_while_it_succeeds(
    worker: CeleryWorker,
) -> None:
    operation = operations.replay(die(inside, 130))
    assert operation.canary
    assert operation.wait(timeout=60).state == "done"
    eventually(all_finished)
    assert effects("inside") == keys(130)
    assert numbers(operation) == (130, 130, 0, 0)
    steps = OperationItem.objects.values_list("step", flat=True)
    assert [list(steps).count(step) for step in range(1, 7)] == [1, 2, 5, 20, 100, 2]


def test_a_canary_spares_the_hopeless_ones_and_goes_on_once_they_are_mended(
    worker: CeleryWorker,
) -> None:
    operation = operations.replay(die(failed, 120, times=1))
    assert operation.wait(timeout=60).state == "stopped"
    assert numbers(operation) == (120, 0, 1, 0)
    assert "RuntimeError: failed on purpose: 0" in operation.note
    eventually(all_finished)  # its retry succeeds
    assert states() == {"dead": 119, "succeeded": 1}


def test_what_a_cancelled_operation_has_not_reached_stays_dead(
    worker: CeleryWorker,
) -> None:
    operation = operations.replay(die(inside, 1000), rate="50/s", canary=False)
    eventually(lambda: operation.refresh().done)
    operation.cancel(by="ann")
    eventually(all_finished)
    _, done, _, _ = numbers(operation)
    assert 0 < done < 1000
    assert states() == {"dead": 1000 - done, "succeeded": done}
    assert len(effects("inside")) == done


def test_another_relay_goes_on_when_one_is_killed(start_worker: StartWorker) -> None:
    relays = [start_worker(ready=False), start_worker(ready=False)]
    for relay in relays:
        relay.wait_until_ready()
    operation = operations.replay(die(inside, 1500), rate="300/s", canary=False)
    eventually(lambda: operation.refresh().done)
    relays[0].kill()
    assert operation.wait(timeout=60).state == "done"
    eventually(all_finished, seconds=60)
    assert numbers(operation) == (1500, 1500, 0, 0)
    assert set(Delivery.objects.values_list("run", flat=True)) == {2}
    assert effects("inside") == keys(1500)


def test_an_operation_without_a_relay_waits_for_one(start_worker: StartWorker) -> None:
    operation = operations.replay(die(inside, 10))
    assert (operation.state, states()) == ("pending", {"dead": 10})
    start_worker()
    assert operation.wait(timeout=30).state == "done"
    eventually(all_finished)
    assert effects("inside") == keys(10)


def test_past_events_reach_a_receiver_that_was_connected_later(
    worker: CeleryWorker,
) -> None:
    with transaction.atomic():
        happened.send_many(sender=None, items=[{"key": key} for key in range(30)])
        late = Delivery.objects.filter(receiver__endswith="note_outside")
        assert late.delete()[0] == 30
    operation = operations.backfill(note_outside, since=HOUR)
    assert operation.wait(timeout=30).state == "done"
    eventually(all_finished)
    assert effects("outside") == effects("atomic") == keys(30)
