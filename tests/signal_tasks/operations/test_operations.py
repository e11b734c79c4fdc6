"""Replay and discard as rows: opened, worked off by relays, exact, on the record."""

from __future__ import annotations

import shlex
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from signal_tasks import AsyncSignal, operations, signals
from signal_tasks.management.commands.signal_tasks import Command
from signal_tasks.models import AuditEntry, Delivery, Operation, OperationItem
from signal_tasks.operations import Selection
from signal_tasks.relay import operating
from signal_tasks.relay.pruning import prune
from signal_tasks.relay.relay import Relay
from signal_tasks.states import State
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import finish
from tests.signal_tasks.once.steps import at_once
from tests.signal_tasks.operations.steps import (
    connect,
    counts,
    dead,
    deliver,
    run_pass,
    states,
)

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


# -- opening ----------------------------------------------------------------------


def test_a_replay_is_only_written_until_a_relay_comes(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 3)
    operation = operations.replay(Selection(signal=signal.name), reason="mended")
    assert (operation.state, operation.total, operation.done) == ("pending", None, 0)
    assert (operation.kind, operation.reason) == ("replay", "mended")
    assert operation.created_at is not None
    assert operation.finished_at is None
    assert states() == {"dead": 3}


def test_a_relay_replays_the_selected_dead_letters(signal: AsyncSignal) -> None:
    machine = connect(signal)
    dead(signal, 3)
    operation = operations.replay(Selection(signal=signal.name))
    run_pass()
    assert counts(operation) == (3, 3, 0, 0)
    assert operation.state == "done"
    assert operation.finished_at is not None
    assert states() == {"pending": 3}
    assert deliver(machine) == 3
    assert states() == {"succeeded": 3}


def test_an_operation_is_done_within_a_few_passes_of_a_relay(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    dead(signal, 3)
    operation = operations.replay(Selection(signal=signal.name))
    relay = Relay("relay@test")
    for _ in range(3):  # collect, change, and one for a busy machine
        relay.run_once()
    relay.close()
    assert counts(operation) == (3, 3, 0, 0)


def test_a_relay_discards_the_selected_deliveries(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 2)
    signal.send(sender=None)
    operation = operations.discard(Selection(signal=signal.name))
    run_pass()
    assert counts(operation) == (3, 3, 0, 0)
    assert states() == {"discarded": 3}


def test_an_operation_that_is_rolled_back_leaves_no_trace(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal)
    with transaction.atomic():
        operation = operations.replay(Selection(signal=signal.name))
        transaction.set_rollback(True)
    run_pass()
    assert states() == {"dead": 1}
    assert not AuditEntry.objects.exists()
    assert operations.find(operation.id) is None
    with pytest.raises(LookupError, match="no operation"):
        operation.refresh()


def test_an_operation_without_a_match_is_done_with_nothing(signal: AsyncSignal) -> None:
    operation = operations.replay(Selection(signal=signal.name))
    run_pass()
    assert counts(operation) == (0, 0, 0, 0)
    assert operation.state == "done"


def test_a_dry_run_counts_and_writes_nothing(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 3)
    operation = operations.replay(Selection(signal=signal.name), dry_run=True)
    assert operation.total == 3
    assert operation.refresh() is operation
    assert not Operation.objects.exists()
    assert not AuditEntry.objects.exists()


def test_the_same_open_operation_sent_twice_is_one(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 2)
    last_day = Selection(signal=signal.name, since=DAY)
    first = operations.replay(last_day)
    assert operations.replay(last_day) == first
    assert operations.discard(last_day) != first
    assert AuditEntry.objects.filter(verb="replay").count() == 1
    first.cancel()
    assert operations.replay(last_day) != first


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
def test_an_operation_that_this_transaction_cannot_see_asks_for_a_new_one(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    dead(signal, 2)
    selection = Selection(signal=signal.name)
    with repeatable_read(), transaction.atomic():
        assert selection.count() == 2
        at_once(1, lambda _: operations.replay(selection))
        # Newer versions of MariaDB say so themselves.
        with pytest.raises(OperationalError, match=r"try again|Record has changed"):
            operations.replay(selection)
    assert operations.replay(selection).is_open
    assert Operation.objects.count() == 1


@contextmanager
def repeatable_read() -> Iterator[None]:
    """Run transactions under this level until the connection is closed."""
    what = "SESSION CHARACTERISTICS AS TRANSACTION"
    if connection.vendor == "mysql":
        what = "SESSION TRANSACTION"
    with connection.cursor() as cursor:
        cursor.execute(f"SET {what} ISOLATION LEVEL REPEATABLE READ")
    yield
    connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
def test_the_same_operation_sent_by_several_at_once_is_one(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 2)
    selection = Selection(signal=signal.name)
    opened, errors = at_once(4, lambda _: operations.replay(selection))
    assert errors == []
    assert len({each.id for each in opened}) == 1
    assert AuditEntry.objects.filter(verb="replay").count() == 1


@pytest.mark.parametrize("rate", ["0", "fast", "10/d", 0])
def test_a_rate_that_is_none_is_refused(rate: Any, signal: AsyncSignal) -> None:
    with pytest.raises(ValueError, match="rate"):
        operations.replay(Selection(signal=signal.name), rate=rate)
    assert not Operation.objects.exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_an_operation_on_two_outboxes_is_one_with_their_sums(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": ["default", "other"]}
    connect(signal)
    signal.send(sender=None)
    signal.using(database="other").send_many(sender=None, items=[{}] * 2)
    for database in ("default", "other"):
        finish(Delivery.objects.using(database), "dead")
    operation = operations.replay(Selection(signal=signal.name))
    again = operations.replay(Selection(signal=signal.name))
    assert again == operation
    run_pass()
    assert counts(operation) == (3, 3, 0, 0)
    assert operation.state == "done"
    assert [each.id for each in operations.recent()] == [operation.id]
    assert len(operations.log()) == 1


# -- what is meant ----------------------------------------------------------------


def test_what_dies_after_the_call_is_not_replayed(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 2)
    operation = operations.replay(Selection(signal=signal.name))
    dead(signal, 1)
    run_pass()
    assert counts(operation) == (2, 2, 0, 0)
    assert states() == {"pending": 2, "dead": 1}


def test_what_is_sent_after_the_call_is_not_discarded(signal: AsyncSignal) -> None:
    connect(signal)
    signal.send(sender=None)
    operation = operations.discard(Selection(signal=signal.name))
    signal.send(sender=None)
    run_pass()
    assert counts(operation) == (1, 1, 0, 0)
    assert states() == {"pending": 1, "discarded": 1}


def test_what_is_in_another_state_by_then_is_skipped(signal: AsyncSignal) -> None:
    connect(signal)
    one, *_ = dead(signal, 3)
    operation = operations.replay(Selection(signal=signal.name))
    operating.run_batch(operation.id, "default")  # which collects
    Delivery.objects.filter(pk=one).discard()
    run_pass()
    assert counts(operation) == (3, 2, 0, 1)
    assert OperationItem.objects.get(pk=one).state == "skipped"
    assert states() == {"pending": 2, "discarded": 1}


def test_a_delivery_is_in_one_open_operation_at_most(signal: AsyncSignal) -> None:
    connect(signal)
    one, two = dead(signal, 2)
    first = operations.replay(Selection(ids=[one]))
    operating.run_batch(first.id, "default")
    second = operations.discard(Selection(ids=[one, two]))
    operating.run_batch(second.id, "default")
    run_pass()
    assert counts(first) == (1, 1, 0, 0)
    assert counts(second) == (2, 1, 0, 1)
    assert Delivery.objects.get(pk=one).state == "pending"
    assert Delivery.objects.get(pk=two).state == "discarded"


def test_a_delivery_may_be_in_one_operation_after_another(signal: AsyncSignal) -> None:
    connect(signal)
    (pk,) = dead(signal)
    operations.discard(Selection(ids=[pk]))
    run_pass()
    again = operations.replay(Selection(ids=[pk]))
    run_pass()
    assert counts(again) == (1, 1, 0, 0)
    assert OperationItem.objects.get(pk=pk).operation_id == again.id


def test_what_was_pruned_meanwhile_is_skipped(signal: AsyncSignal) -> None:
    connect(signal)
    one, _ = dead(signal, 2)
    operation = operations.replay(Selection(signal=signal.name))
    operating.run_batch(operation.id, "default")
    rows = Delivery.objects.all()
    Delivery.objects.filter(pk=one).update(finished_at=F("finished_at") - 9 * DAY)
    assert rows.prune(State.DEAD, older_than=8 * DAY, limit=10) == 1
    assert OperationItem.objects.count() == 1
    run_pass()
    assert counts(operation) == (2, 1, 0, 1)


@pytest.mark.parametrize("by_ids", [True, False])
def test_more_than_one_batch_is_collected(by_ids: bool, signal: AsyncSignal) -> None:
    connect(signal)
    ids = dead(signal, 5100)
    selection = Selection(ids=ids[:5050]) if by_ids else Selection(state="dead")
    operation = operations.discard(selection)
    for _ in range(2):
        operating.run_batch(operation.id, "default")
    expected = 5050 if by_ids else 5100
    assert counts(operation) == (expected, 0, 0, 0)
    assert OperationItem.objects.filter(state="selected").count() == expected


# -- batches ----------------------------------------------------------------------


def test_a_pass_works_off_several_batches(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 2500)
    operation = operations.replay(Selection(signal=signal.name), canary=False)
    operation.work_off(60)
    assert counts(operation) == (2500, 2500, 0, 0)
    assert states() == {"pending": 2500}


def test_any_relay_goes_on_where_another_one_has_died(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 1500)
    operation = operations.replay(Selection(signal=signal.name), canary=False)
    for _ in range(2):  # the batches of one that then dies
        operating.run_batch(operation.id, "default")
    assert counts(operation) == (1500, 1000, 0, 0)
    run_pass()
    assert counts(operation) == (1500, 1500, 0, 0)


def test_a_row_that_cannot_be_changed_does_not_stop_the_others(
    signal: AsyncSignal, unchangeable: uuid.UUID
) -> None:
    operation = operations.replay(Selection(signal=signal.name))
    run_pass()
    assert counts(operation) == (3, 2, 1, 0)
    assert operation.state == "done"
    assert str(unchangeable) in operation.note
    assert OperationItem.objects.get(pk=unchangeable).state == "failed"
    assert Delivery.objects.get(pk=unchangeable).state == "dead"


@pytest.fixture
def unchangeable(signal: AsyncSignal) -> uuid.UUID:
    """Make three dead letters, one of which was replayed as often as a row can count."""
    connect(signal)
    _, two, _ = dead(signal, 3)
    Delivery.objects.filter(pk=two).update(run=32767)
    if connection.vendor == "sqlite":  # which has no limit of its own
        _refuse_more_than(32767)
    return two


def _refuse_more_than(most: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TRIGGER out_of_range BEFORE UPDATE ON "
            f"main.signal_tasks_delivery WHEN NEW.run > {most} "
            "BEGIN SELECT RAISE(ABORT, 'out of range'); END"
        )


def test_an_operation_that_cannot_be_run_stops_and_the_relay_goes_on(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    dead(signal)
    signal.send(sender=None)
    operation = operations.replay(Selection(signal=signal.name))
    Operation.objects.update(stored_selection='{"colour": "blue"}')
    passed = []
    signals.pass_finished.connect(
        lambda details, **_: passed.append(details), weak=False
    )
    relay = Relay("relay@test")
    relay.run_once()
    relay.close()
    row = Operation.objects.get(pk=operation.id)
    assert (row.state, row.open_key) == ("stopped", None)
    assert "colour" in row.note
    assert passed


def test_a_rate_spreads_an_operation(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 10)
    operation = operations.replay(Selection(signal=signal.name), rate="2/m")
    operating.work_off("default", seconds=60)
    assert counts(operation) == (10, 1, 0, 0)
    operating.work_off("default", seconds=60)
    assert counts(operation)[1] == 1
    Operation.objects.update(next_step_at=F("next_step_at") - timedelta(seconds=30))
    operating.work_off("default", seconds=60)
    assert counts(operation)[1] == 2


def test_a_relay_that_comes_late_makes_up_for_a_few_seconds_of_a_rate(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    dead(signal, 100)
    operation = operations.replay(Selection(signal=signal.name), rate=2, canary=False)
    operating.run_batch(operation.id, "default")  # which collects
    Operation.objects.update(next_step_at=F("next_step_at") - DAY)
    began = time.monotonic()
    operating.work_off("default", seconds=60)
    took = time.monotonic() - began
    assert 10 <= counts(operation)[1] <= 12 + 2 * took


@pytest.mark.django_db(transaction=True)
def test_relays_beside_each_other_double_nothing(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 3000)
    operation = operations.replay(Selection(signal=signal.name), canary=False)

    def work() -> None:
        for _ in range(30):
            operating.work_off("default", seconds=1)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(operation) == (3000, 3000, 0, 0)
    assert set(Delivery.objects.values_list("run", flat=True)) == {2}


# -- cancelling, waiting, listing -------------------------------------------------


def test_what_was_not_reached_before_it_was_cancelled_stays_as_it_is(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    dead(signal, 1500)
    operation = operations.replay(Selection(signal=signal.name), canary=False)
    for _ in range(2):
        operating.run_batch(operation.id, "default")
    assert operation.cancel(by="ann").state == "cancelled"
    run_pass()
    assert counts(operation) == (1500, 1000, 0, 0)
    assert states() == {"pending": 1000, "dead": 500}
    assert operation.cancel().state == "cancelled"
    assert [entry.verb for entry in operations.log()] == ["cancel", "replay"]


def test_what_a_cancelled_operation_left_may_be_selected_again(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    dead(signal, 2)
    first = operations.replay(Selection(signal=signal.name))
    operating.run_batch(first.id, "default")
    first.cancel()
    second = operations.replay(Selection(signal=signal.name))
    run_pass()
    assert counts(second) == (2, 2, 0, 0)


def test_only_a_stopped_operation_is_resumed(signal: AsyncSignal) -> None:
    operation = operations.replay(Selection(signal=signal.name))
    with pytest.raises(ValueError, match="is not stopped"):
        operation.resume()


def test_waiting_for_an_operation_that_nobody_works_at_has_an_end(
    signal: AsyncSignal,
) -> None:
    operation = operations.replay(Selection(signal=signal.name))
    with pytest.raises(TimeoutError, match=r"is pending after .* if one is alive"):
        operation.wait(timeout=0.1)
    run_pass()
    assert operation.wait(timeout=0.1).state == "done"


def test_operations_are_found_by_id_and_listed(signal: AsyncSignal) -> None:
    first = operations.replay(Selection(signal=signal.name), by="ann")
    second = operations.discard(Selection(signal=signal.name))
    assert operations.recent() == [second, first]
    assert operations.recent(1) == [second]
    found = operations.find(first.id)
    assert found is not None
    assert (found.by, found.selection) == ("ann", Selection(signal=signal.name))
    assert operations.find(uuid.uuid4()) is None


# -- the audit trail --------------------------------------------------------------


def test_an_operation_is_on_the_record_with_who_and_why(signal: AsyncSignal) -> None:
    user = User.objects.create(username="ann")
    operation = operations.replay(
        Selection(signal=signal.name, state="dead"), by=user, reason="mail is back"
    )
    (entry,) = operations.log(operation=operation.id)
    assert (entry.verb, entry.by, entry.reason) == ("replay", "ann", "mail is back")
    assert entry.target == f"dead deliveries of the signal {signal.name}"
    assert entry.command == (
        f"manage.py signal_tasks replay --signal {signal.name} --state dead "
        "--because 'mail is back'"
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda chosen, name: operations.replay(chosen, canary=True, rate="5/m"),
        lambda chosen, name: operations.replay(chosen, canary=False, reason="a 'b'"),
        lambda chosen, name: operations.discard(chosen),
        lambda chosen, name: operations.discard(Selection(), everything=True),
        lambda chosen, name: operations.replay(Selection(ids=[uuid.uuid4()])),
        lambda chosen, name: operations.backfill(name, since=DAY, until=DAY / 2),
        lambda chosen, name: operations.discard(chosen).cancel(),
    ],
)
def test_the_command_on_the_record_is_one_that_can_be_given(
    ask: Callable[[Selection, str], object], signal: AsyncSignal
) -> None:
    machine = connect(signal)
    chosen = Selection(
        receiver=machine.name,
        reason="lost",
        error="key error",
        fingerprint="a" * 16,
        subject="shop.order:5",
        since=DAY,
        until=timezone.now(),
    )
    ask(chosen, machine.name)
    (entry, *_) = operations.log()
    program, name, *arguments = shlex.split(entry.command)
    parser = Command().create_parser(program, name)
    assert parser.parse_args(arguments).verb == arguments[0]


def test_the_log_is_filtered(signal: AsyncSignal) -> None:
    for by in ("ann", "bob"):
        operations.replay(Selection(signal=signal.name), by=by).cancel(by=by)
    assert len(operations.log()) == 4
    assert len(operations.log(limit=3)) == 3
    assert {entry.by for entry in operations.log(by="ann")} == {"ann"}
    assert {entry.verb for entry in operations.log(verb="cancel")} == {"cancel"}


def test_the_record_is_kept_for_its_time_then_pruned(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "KEEP_AUDIT": 30 * DAY}
    connect(signal)
    dead(signal, 2)
    operation = operations.replay(Selection(signal=signal.name))
    run_pass()
    _age(29 * DAY)
    prune("default")
    assert len(operations.log()) == 1
    assert operations.find(operation.id) == operation
    _age(2 * DAY)
    prune("default")
    assert operations.log() == []
    assert operations.find(operation.id) is None
    assert not OperationItem.objects.exists()
    assert states() == {"pending": 2}


def test_an_open_operation_is_not_pruned(signal: AsyncSignal, settings: Any) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "KEEP_AUDIT": DAY}
    operation = operations.replay(Selection(signal=signal.name))
    Operation.objects.update(created_at=F("created_at") - 99 * DAY)
    prune("default")
    assert operations.find(operation.id) == operation


def _age(age: timedelta) -> None:
    AuditEntry.objects.update(at=F("at") - age)
    Operation.objects.update(finished_at=F("finished_at") - age)


# -- what is told -----------------------------------------------------------------


@pytest.fixture
def told() -> Iterator[list[signals.OperationFinished]]:
    heard: list[signals.OperationFinished] = []

    def hear(details: signals.OperationFinished, **_: Any) -> None:
        heard.append(details)

    signals.operation_finished.connect(hear)
    yield heard
    signals.operation_finished.disconnect(hear)


@pytest.mark.django_db(transaction=True)
def test_the_end_of_an_operation_is_told_once(
    signal: AsyncSignal, told: list[signals.OperationFinished], caplog: Any
) -> None:
    connect(signal)
    dead(signal, 2)
    caplog.set_level("INFO")
    operation = operations.replay(Selection(signal=signal.name), by="ann")
    run_pass(2)
    (details,) = told
    assert (details.operation_id, details.state) == (operation.id, "done")
    assert (details.total, details.done, details.by) == (2, 2, "ann")
    lines = [
        r.getMessage()
        for r in caplog.records
        if r.msg and "operation" in r.getMessage()
    ]
    assert any(line.startswith("operation_finished ") for line in lines)


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_operation_is_told(
    signal: AsyncSignal, told: list[signals.OperationFinished]
) -> None:
    operations.replay(Selection(signal=signal.name)).cancel()
    assert [details.state for details in told] == ["cancelled"]


# -- what it costs ----------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_no_reports")
def test_without_an_open_operation_relays_look_only_every_two_seconds(
    django_assert_num_queries: Any,
) -> None:
    relay = Relay("relay@test")
    relay.run_once()
    with django_assert_num_queries(1):
        relay.run_once()
    relay.close()


@pytest.mark.django_db(transaction=True)
def test_a_batch_takes_the_same_statements_whatever_its_number(
    signal: AsyncSignal,
) -> None:
    connect(signal)
    made = []
    for number in (3, 300):
        ids = dead(signal, number)
        operation = operations.replay(Selection(ids=ids), canary=False)
        for _ in range(2):
            with CaptureQueriesContext(connection) as queries:
                operating.run_batch(operation.id, "default")
            made.append(len(queries))
        assert counts(operation) == (number, number, 0, 0)
    collected, changed, *more = made
    assert (collected, changed) <= (8, 15)
    assert (
        collected <= more[0] <= collected + 1
    )  # SQLite limits the values of a statement
    assert changed == more[1]


def test_an_operation_that_is_worked_at_moves(signal: AsyncSignal) -> None:
    connect(signal)
    dead(signal, 1500)
    operation = operations.replay(Selection(signal=signal.name), canary=False)
    Operation.objects.update(next_step_at=F("next_step_at") - timedelta(hours=1))
    operating.run_batch(operation.id, "default")
    (moved,) = Operation.objects.values_list("next_step_at", flat=True)
    assert operation.created_at is not None
    assert moved >= operation.created_at


# -- in tests of projects ---------------------------------------------------------


def test_run_pending_works_off_operations_first(signal: AsyncSignal) -> None:
    machine = connect(signal)
    dead(signal, 130)
    operation = operations.replay(Selection(signal=signal.name))
    assert operation.canary
    assert len(run_pending()) == 130
    assert len(machine.calls) == 130
    assert counts(operation) == (130, 130, 0, 0)
