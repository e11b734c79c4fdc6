"""Backfill: past events reach a receiver that was connected after they were sent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.utils import timezone

from signal_tasks import AsyncSignal, async_receiver, operations
from signal_tasks.models import Delivery, Event, Operation
from signal_tasks.registry.registry import registry
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.operations.steps import (
    Machine,
    connect,
    counts,
    deliver,
    run_pass,
)
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def send(signal: AsyncSignal, number: int = 1, *, ago: timedelta = HOUR) -> None:
    """Send events that are so old."""
    before = set(Event.objects.values_list("pk", flat=True))
    signal.send_many(sender=None, items=[{"n": n} for n in range(number)])
    Event.objects.exclude(pk__in=before).update(sent_at=F("sent_at") - ago)


@pytest.fixture
def late(signal: AsyncSignal) -> Machine:
    """Connect a machine after three events were sent to another receiver."""
    listen(signal)
    send(signal, 3)
    return connect(signal)


def heard(machine: Machine) -> list[int]:
    deliver(machine)
    return [kwargs["n"] for kwargs in machine.calls]


def test_what_a_receiver_has_sent_is_a_past_event_too(signal: AsyncSignal) -> None:
    caused = AsyncSignal(name="t.caused")
    listen(caused)

    def cause(sender: object, **kwargs: Any) -> None:
        caused.send(sender=None, n=7)

    signal.connect(cause, name="t.causing", weak=False)
    signal.send(sender=None)
    run_pending()
    machine = connect(caused)
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert counts(operation) == (1, 1, 0, 0)
    assert heard(machine) == [7]


def test_past_events_are_delivered_in_the_order_of_their_sends(late: Machine) -> None:
    operation = operations.backfill(late.name, since=DAY, by="ann", reason="new")
    assert (operation.kind, operation.state) == ("backfill", "pending")
    run_pass()
    assert counts(operation) == (3, 3, 0, 0)
    assert operation.state == "done"
    assert heard(late) == [0, 1, 2]
    (entry,) = operations.log()
    assert (entry.verb, entry.by, entry.reason) == ("backfill", "ann", "new")


def test_the_receiver_may_be_given_itself(late: Machine) -> None:
    assert operations.backfill(late, since=DAY).selection.receiver == late.name


def test_the_start_has_to_be_given(late: Machine) -> None:
    with pytest.raises(TypeError, match="since"):
        operations.backfill(late.name)  # type: ignore[call-arg]


def test_only_events_between_since_and_until_are_delivered(
    signal: AsyncSignal, late: Machine
) -> None:
    signal.disconnect(late)
    send(signal, ago=2 * DAY)
    send(signal, ago=3 * DAY)
    connect_again(signal, late)
    moment = timezone.now() - 5 * HOUR / 2 - 2 * DAY
    assert operations.backfill(late.name, since=DAY, dry_run=True).total == 3
    assert operations.backfill(late.name, since=moment, dry_run=True).total == 4
    operation = operations.backfill(late.name, since=4 * DAY, until=DAY)
    run_pass()
    assert counts(operation) == (2, 2, 0, 0)


def connect_again(signal: AsyncSignal, machine: Machine) -> None:
    signal.connect(machine, name=machine.name, weak=False)


def test_events_that_it_has_had_are_not_delivered_again(
    signal: AsyncSignal, late: Machine
) -> None:
    send(signal, 2)
    for _ in range(2):
        operations.backfill(late.name, since=DAY)
        run_pass()
    assert Delivery.objects.filter(receiver=late.name).count() == 5


def test_events_that_it_has_had_under_a_former_name_are_not_delivered_again(
    signal: AsyncSignal,
) -> None:
    former = connect(signal, name="t.former_machine")
    send(signal, 2)
    signal.disconnect(former)
    listen(signal)
    send(signal, 1)
    now = connect(signal, aliases=["t.former_machine"])
    assert operations.backfill(now.name, since=DAY, dry_run=True).total == 1


def test_events_stored_under_a_former_name_of_the_signal_are_delivered(
    signal: AsyncSignal, late: Machine
) -> None:
    renamed = AsyncSignal(name="tests.renamed_for_backfill", aliases=[signal.name])
    signal.disconnect(late)
    machine = connect(renamed)
    operations.backfill(machine.name, since=DAY)
    run_pass()
    assert heard(machine) == [0, 1, 2]


def test_one_of_several_signals_may_be_named(
    signal: AsyncSignal, late: Machine
) -> None:
    other = AsyncSignal(name="tests.other_for_backfill")
    listen(other)
    send(other, 2)
    other.connect(late, name=late.name, weak=False, retry=_policy(late))
    assert operations.backfill(late.name, since=DAY, dry_run=True).total == 5
    for given in (other, other.name):
        one = operations.backfill(late.name, since=DAY, signal=given, dry_run=True)
        assert one.total == 2


def _policy(machine: Machine) -> Any:
    receiver = registry.receiver(machine.name)
    assert receiver is not None
    return receiver.options.retry


def test_events_of_signals_that_it_is_not_connected_to_are_not_delivered(
    signal: AsyncSignal, late: Machine
) -> None:
    other = AsyncSignal(name="tests.unheard")
    listen(other)
    send(other)
    assert operations.backfill(late.name, since=DAY, dry_run=True).total == 3
    with pytest.raises(ValueError, match="is not connected to tests"):
        operations.backfill(late.name, since=DAY, signal=other)


def test_when_is_asked_of_each_event(signal: AsyncSignal) -> None:
    listen(signal)
    send(signal, 4)
    machine = connect(signal, when=lambda sender, n, **_: n % 2)
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert counts(operation) == (4, 2, 0, 2)
    assert heard(machine) == [1, 3]


def test_what_when_raises_fails_that_event_only(signal: AsyncSignal) -> None:
    listen(signal)
    send(signal, 3)
    machine = connect(signal, when=lambda sender, n, **_: 1 / (n - 1))
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert counts(operation) == (3, 2, 1, 0)
    assert "ZeroDivisionError" in operation.note
    assert heard(machine) == [0, 2]


def enter() -> None:
    transaction.atomic().__enter__()


def execute(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


LEFT = {
    "sqlite": (enter, "inside of a transaction", "SELECT 1"),
    "postgresql": (
        lambda: execute("SET TIME ZONE 'Asia/Tokyo'"),
        "changed TimeZone",
        "SELECT current_setting('TimeZone')",
    ),
    "mysql": (
        lambda: execute("SET time_zone = '+09:00'"),
        "changed time_zone",
        "SELECT @@time_zone",
    ),
}


@pytest.mark.django_db(transaction=True)
def test_what_when_leaves_on_the_connection_stops_the_backfill_and_goes_with_it(
    signal: AsyncSignal,
) -> None:
    leave, told, look = LEFT[connection.vendor]
    listen(signal)
    send(signal, 3)
    before = execute(look)
    machine = connect(signal, when=lambda sender, **kwargs: not leave())
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert operation.refresh().state == "stopped"
    assert "when= " in operation.note
    assert told in operation.note
    assert not Delivery.objects.filter(receiver=machine.name).exists()
    assert execute(look) == before


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_a_failing_when_leaves_open_stops_the_backfill(
    signal: AsyncSignal,
) -> None:
    def when(sender: object, **kwargs: Any) -> bool:
        enter()
        raise LookupError("on the way")

    listen(signal)
    send(signal, 3)
    machine = connect(signal, when=when)
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert operation.refresh().state == "stopped"
    assert "when= returned inside of a transaction" in operation.note
    assert not connection.in_atomic_block


@pytest.mark.parametrize("kind", ["class", "text", "row"])
def test_only_events_of_the_sender_it_is_connected_for_are_delivered(
    kind: str, signal: AsyncSignal
) -> None:
    row = Thing.objects.create(name="one")
    sender: Any = {"class": Thing, "text": "some " + kind, "row": row}[kind]
    listen(signal)
    signal.send(sender=sender, n=1)
    signal.send(sender=None, n=2)
    signal.send(sender="another", n=3)
    machine = connect(signal, sender=sender)
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert counts(operation) == (3, 1, 0, 2)
    assert heard(machine) == [1]


def test_a_payload_that_cannot_be_read_fails_and_the_others_go_on(
    late: Machine,
) -> None:
    damaged = Event.objects.order_by("pk")[1]
    Event.objects.filter(pk=damaged.pk).update(payload="nonsense")
    operation = operations.backfill(late.name, since=DAY)
    run_pass()
    assert counts(operation) == (3, 2, 1, 0)
    assert operation.state == "done"
    assert str(damaged.pk) in operation.note
    assert heard(late) == [0, 2]


@pytest.mark.parametrize(
    ("on_missing", "expected"),
    [("reject", (1, 0, 1, 0)), ("skip", (1, 0, 0, 1)), ("none", (1, 1, 0, 0))],
)
def test_an_event_about_a_deleted_row_is_treated_as_the_receiver_says(
    on_missing: str, expected: tuple[int, ...], signal: AsyncSignal
) -> None:
    listen(signal)
    thing = Thing.objects.create(name="one")
    signal.send(sender=None, thing=thing)
    thing.delete()
    machine = connect(signal, on_missing=on_missing)
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert counts(operation) == expected


def test_events_that_a_receiver_has_sent_are_delivered(signal: AsyncSignal) -> None:
    first, second = AsyncSignal(name="tests.first_of_a_chain"), signal
    listen(second)

    def reacts(sender: object, **kwargs: Any) -> None:
        second.send(None, n=7)

    first.connect(reacts, name="t.reacts", weak=False)
    first.send(None)
    run_pending()
    machine = connect(signal)
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert counts(operation) == (1, 1, 0, 0)
    assert heard(machine) == [7]


def test_a_backfill_goes_on_behind_the_last_event_that_was_committed(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    send(signal, 450)
    machine = connect(signal)
    operation = operations.backfill(machine.name, since=DAY, canary=False)
    operation.work_off(0)
    while operation.is_open:
        run_pass()
        operation.refresh()
    assert counts(operation) == (450, 450, 0, 0)
    assert Delivery.objects.filter(receiver=machine.name).count() == 450


def test_a_backfill_of_many_goes_in_the_steps_of_a_canary(signal: AsyncSignal) -> None:
    listen(signal)
    send(signal, 120)
    machine = connect(signal)
    operation = operations.backfill(machine.name, since=DAY)
    assert operation.canary
    sizes = []
    for _ in range(3):
        run_pass()
        sizes.append(deliver(machine))
    assert sizes == [1, 2, 5]
    machine.broken = lambda kwargs: True
    run_pass()
    deliver(machine)
    run_pass()
    assert operation.refresh().state == "stopped"
    assert counts(operation) == (120, 8, 20, 0)
    machine.broken = lambda kwargs: False
    operation.resume()
    run_pass()
    assert counts(operation) == (120, 28, 20, 0)


def test_what_cannot_be_read_does_not_stop_a_canary(signal: AsyncSignal) -> None:
    listen(signal)
    send(signal, 120)
    machine = connect(signal)
    damaged = Event.objects.order_by("pk").values_list("pk", flat=True)[:4]
    Event.objects.filter(pk__in=list(damaged)).update(payload="nonsense")
    operation = operations.backfill(machine.name, since=DAY)
    for _ in range(6):
        run_pass()
        deliver(machine)
    assert operation.refresh().state == "done"
    assert counts(operation) == (120, 116, 4, 0)


def test_a_rate_spreads_a_backfill(late: Machine) -> None:
    operation = operations.backfill(late.name, since=DAY, rate="1/m")
    operation.work_off(60)
    assert counts(operation) == (3, 1, 0, 0)
    run_pass()
    assert counts(operation) == (3, 2, 0, 0)


def test_the_same_backfill_sent_twice_is_one(late: Machine) -> None:
    first = operations.backfill(late.name, since=DAY)
    assert operations.backfill(late.name, since=DAY) == first
    assert Operation.objects.count() == 1


def test_what_is_sent_after_the_call_is_not_meant(
    signal: AsyncSignal, late: Machine
) -> None:
    operation = operations.backfill(late.name, since=DAY)
    signal.disconnect(late)
    signal.send(sender=None, n=99)
    connect_again(signal, late)
    run_pass()
    assert counts(operation) == (3, 3, 0, 0)


def test_an_event_that_is_pruned_meanwhile_is_skipped(late: Machine) -> None:
    operation = operations.backfill(late.name, since=DAY)
    Operation.objects.update(total=3, cursor="")  # as it is once they are counted
    Event.objects.order_by("pk")[1].delete()
    run_pass()
    assert counts(operation) == (3, 2, 0, 1)


# -- what is refused --------------------------------------------------------------


def test_a_receiver_that_is_not_known_here_is_refused_with_the_nearest(
    late: Machine,
) -> None:
    with pytest.raises(ValueError, match=f"Did you mean '{late.name}'"):
        operations.backfill(late.name[:-1], since=DAY)


@pytest.mark.parametrize("setting", ["KEEP_SUCCEEDED", "KEEP_DISCARDED"])
def test_a_time_of_which_events_may_have_been_pruned_is_refused(
    setting: str, late: Machine, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, setting: 2 * DAY}
    with pytest.raises(ValueError, match=f"{setting}.* 2 days.* since can be 2"):
        operations.backfill(late.name, since=3 * DAY)
    assert operations.backfill(late.name, since=2 * DAY).state == "pending"


def test_any_time_is_possible_where_everything_is_kept(
    late: Machine, settings: Any
) -> None:
    keep: dict[str, Any] = {"KEEP_SUCCEEDED": None, "KEEP_DISCARDED": None}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **keep}
    assert operations.backfill(late.name, since=3000 * DAY, dry_run=True).total == 3


def test_a_time_without_zone_is_refused(late: Machine) -> None:
    with pytest.raises(ValueError, match="time zone"):
        operations.backfill(late.name, since=datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_ordered_receiver_is_refused(signal: AsyncSignal) -> None:
    machine = connect(signal, ordered=True)
    with pytest.raises(ValueError, match="ordered=True"):
        operations.backfill(machine.name, since=DAY)


def test_an_empty_time_is_refused(late: Machine) -> None:
    with pytest.raises(ValueError, match="no time between"):
        operations.backfill(late.name, since=HOUR, until=DAY)


# -- other processes, other signals -----------------------------------------------


def test_a_relay_that_does_not_know_the_receiver_leaves_it_to_others(
    signal: AsyncSignal, late: Machine
) -> None:
    operation = operations.backfill(late.name, since=DAY)
    signal.disconnect(late)
    run_pass()
    assert (operation.refresh().state, operation.total) == ("pending", None)
    connect_again(signal, late)
    run_pass()
    assert operation.refresh().state == "done"


@pytest.fixture
def hear_saves() -> Iterator[Callable[..., Machine]]:
    """Connect machines to post_save of things for this test."""
    names = []

    def hear(**options: Any) -> Machine:
        machine = Machine(f"t.saves_{uuid.uuid4().hex}")
        names.append(machine.name)
        connect_to = async_receiver(
            post_save, sender=Thing, name=machine.name, weak=False, **options
        )
        return connect_to(machine)

    yield hear
    for name in names:
        post_save.disconnect(sender=Thing, dispatch_uid=name)


def test_saves_of_the_past_reach_a_later_receiver_of_post_save(
    hear_saves: Callable[..., Machine],
) -> None:
    hear_saves()
    Thing.objects.create(name="one")
    machine = hear_saves()
    operation = operations.backfill(machine.name, since=DAY)
    run_pass()
    assert counts(operation) == (1, 1, 0, 0)
    assert deliver(machine) == 1
    assert machine.calls[0]["instance"].name == "one"


def test_what_loaddata_has_saved_reaches_only_those_who_want_it(
    hear_saves: Callable[..., Machine],
) -> None:
    hear_saves(raw=True)
    Thing(name="one").save_base(raw=True)
    machine = hear_saves(raw=True)
    assert operations.backfill(machine.name, since=DAY).work_off().done == 1


def test_receivers_that_get_events_of_their_own_cannot_be_backfilled(
    hear_saves: Callable[..., Machine],
) -> None:
    hear_saves(snapshot=True)
    machine = hear_saves()
    with pytest.raises(ValueError, match="several events"):
        operations.backfill(machine.name, since=DAY)
