"""Operations from the command: opened, followed, steered, and written down."""

from __future__ import annotations

import getpass
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import F

from signal_tasks import AsyncSignal, operations
from signal_tasks.commands import following
from signal_tasks.models import AuditEntry, Delivery, Operation, Worker
from signal_tasks.operations import Selection
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.command import Terminal, both, command, told
from tests.signal_tasks.conftest import finish, listen, send

pytestmark = pytest.mark.django_db


@pytest.fixture
def many(signal: AsyncSignal) -> AsyncSignal:
    """A signal with 101 dead letters: too many to be worked off by the command."""
    listen(signal, name="t.many")
    signal.send_many(sender=None, items=[{}] * 101)
    finish(Delivery.objects, "dead")
    before = F("finished_at") - timedelta(seconds=1)
    Delivery.objects.update(finished_at=before, reason="exhausted")
    return signal


def stopped() -> Operation:
    """Make an operation that its canary has stopped."""
    command("replay", "--all")
    operation = Operation.objects.get()
    operation.finish("stopped", "too many have failed")  # type: ignore[arg-type]
    operation.save()
    return operation


# -- opening ----------------------------------------------------------------------


def test_up_to_100_deliveries_are_replayed_at_once(failing: AsyncSignal) -> None:
    handle = send(failing)
    run_pending()
    assert command("replay", "--all") == "1 delivery replayed\n"
    assert handle.refresh().state == "pending"
    assert Operation.objects.get().state == "done"


def test_more_are_left_to_relays_and_the_command_says_how_to_follow_them(
    many: AsyncSignal,
) -> None:
    Worker.objects.create(name="celery@here")
    said = command("replay", "--all")
    operation = Operation.objects.get()
    assert said.splitlines() == [
        f"operation {operation.pk}: 101 deliveries, in the steps of a canary",
        f"follow it: manage.py signal_tasks operations {operation.pk} --wait",
    ]
    assert (operation.state, operation.canary) == ("pending", True)


def test_canary_and_rate_are_as_they_are_asked_for(many: AsyncSignal) -> None:
    command("replay", "--all", "--no-canary", "--rate", "100/m")
    operation = Operation.objects.get()
    assert (operation.canary, operation.rate) == (False, "100/m")


def test_a_rate_that_is_none_is_an_error(many: AsyncSignal) -> None:
    with pytest.raises(CommandError, match="rate is 'fast'"):
        command("discard", "--all", "--rate", "fast")


def test_without_a_relay_the_command_warns_that_nothing_happens_yet(
    many: AsyncSignal,
) -> None:
    _, warned = both("discard", "--all")
    assert "no relay is alive on default" in warned
    assert "it goes on by itself" in warned


def test_the_object_of_an_operation_says_all_of_it(many: AsyncSignal) -> None:
    seen = told("replay", "--all", "--by", "ada", "--because", "mended")
    operation = Operation.objects.get()
    assert seen["id"] == str(operation.pk)
    assert (seen["kind"], seen["state"], seen["by"]) == ("replay", "pending", "ada")
    assert (seen["reason"], seen["selection"]) == ("mended", "all deliveries")
    dry = told("discard", "--all", "--dry-run")
    assert (dry["id"], dry["dry_run"], dry["total"]) == (None, True, 101)


def test_nothing_to_do_opens_no_operation(signal: AsyncSignal) -> None:
    listen(signal)
    assert command("replay", "--all") == "0 deliveries replayed\n"
    assert told("replay", "--all")["total"] == 0
    assert not Operation.objects.exists()


def test_the_same_replay_twice_is_one_operation(many: AsyncSignal) -> None:
    first = told("replay", "--all")
    assert told("replay", "--all")["id"] == first["id"]


def test_past_events_are_delivered_to_a_receiver_that_came_later(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.first")
    signal.send(sender=None)
    run_pending()
    calls = listen(signal, name="t.later")
    dry = command("backfill", "--receiver", "t.later", "--since", "1h", "--dry-run")
    assert dry == "1 delivery would be backfilled\n"
    command("backfill", "--receiver", "t.later", "--since", "1h")
    run_pending()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--receiver", "t.first"], "--since"),
        (["--since", "1h"], "--receiver"),
        (["--receiver", "t.frist", "--since", "1h"], r"Did you mean t\.first"),
        (["--receiver", "t.first", "--since", "1h", "--signal", "no"], "no signal"),
    ],
)
def test_a_backfill_needs_a_receiver_and_a_time(
    arguments: list[str], error: str, signal: AsyncSignal
) -> None:
    listen(signal, name="t.first")
    with pytest.raises(CommandError, match=error):
        command("backfill", *arguments)


# -- who --------------------------------------------------------------------------


def test_the_user_of_the_operating_system_is_recorded(failing: AsyncSignal) -> None:
    send(failing)
    command("discard", "--all")
    assert Operation.objects.get().by == getpass.getuser()
    assert AuditEntry.objects.get().by == getpass.getuser()


def test_somebody_without_a_name_is_recorded_by_number(
    failing: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    send(failing)
    command("discard", "--all")
    assert AuditEntry.objects.get().by == "uid 12345"


# -- following --------------------------------------------------------------------


def test_an_operation_is_not_waited_for_if_no_relay_is_alive(
    many: AsyncSignal,
) -> None:
    with pytest.raises(CommandError, match="no relay is alive on default"):
        command("replay", "--all", "--wait")
    assert Operation.objects.get().state == "pending"


def test_an_operation_is_waited_for_no_longer_than_asked(many: AsyncSignal) -> None:
    Worker.objects.create(name="celery@here")
    with pytest.raises(CommandError, match=r"not finished after 0\.1 s"):
        command("replay", "--all", "--wait", "--timeout", "0.1")


@contextmanager
def running_relay() -> Iterator[None]:
    """Run a relay in a thread."""
    stop = threading.Event()

    def run() -> None:
        try:
            Relay("relay@here").run_forever(stop)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    Worker.objects.create(name="celery@here")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rich", [True, False])
def test_in_a_terminal_the_progress_is_a_bar_if_rich_is_installed(
    rich: bool,
    many: AsyncSignal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich looks at the real stream
    if not rich:
        monkeypatch.setattr(following, "find_spec", lambda name: None)
    out = Terminal()
    command("discard", "--all")
    pk = str(Operation.objects.get().pk)
    with running_relay():
        call_command("signal_tasks", "operations", pk, "--wait", stdout=out)
    assert out.getvalue().endswith("101 deliveries discarded\n")
    assert ("discard: " in capsys.readouterr().out) is rich


@pytest.mark.django_db(transaction=True)
def test_progress_is_printed_until_a_relay_has_done_it(many: AsyncSignal) -> None:
    command("discard", "--all")
    operation = Operation.objects.get()
    with running_relay():
        said = command("operations", operation.pk, "--wait", "--timeout", "60")
    *progress, result = said.splitlines()
    assert result == "101 deliveries discarded"
    assert all(line.startswith("discard: ") for line in progress)


def test_who_waits_for_a_stopped_operation_gets_status_1(many: AsyncSignal) -> None:
    operation = stopped()
    said, warned = both("operations", operation.pk, "--wait", status=1)
    assert "is stopped" in said
    assert "too many have failed" in said
    assert f"signal_tasks operations {operation.pk} --resume" in warned


def test_what_failed_though_all_was_done_is_told_with_what_to_do(
    many: AsyncSignal,
) -> None:
    operation = stopped()
    Operation.objects.update(state="done", total=101, done=100, failed=1)
    said, warned = both("operations", operation.pk, "--wait", status=1)
    assert said == "100 deliveries replayed, 1 failed\n"
    assert "1 delivery failed. It was not changed, or failed again" in warned
    assert "give the same replay again" in warned


# -- listing and steering ---------------------------------------------------------


def test_operations_are_listed_the_newest_first(many: AsyncSignal) -> None:
    assert command("operations") == "no operations\n"
    first, second = told("replay", "--all")["id"], told("discard", "--all")["id"]
    lines = command("operations").splitlines()
    assert lines[0] == f"{second}  discard pending, 0 of ?"
    assert lines[2] == f"{first}  replay pending, 0 of ?"
    assert all(len(line) <= 80 for line in lines)
    assert [each["id"] for each in told("operations")] == [second, first]
    assert [each["id"] for each in told("operations", "--limit", "1")] == [second]


def test_an_operation_is_shown(many: AsyncSignal) -> None:
    pk = told("replay", "--receiver", "t.many", "--because", "mended")["id"]
    lines = command("operations", pk).splitlines()
    assert "selection: deliveries to the receiver t.many" in lines
    assert "reason: mended" in lines
    assert told("operations", pk)["id"] == pk


def test_an_operation_is_cancelled(many: AsyncSignal) -> None:
    pk = told("replay", "--all")["id"]
    shown = told("operations", pk, "--cancel", "--by", "ada", "--because", "wrong one")
    assert shown["state"] == "cancelled"
    entry = AuditEntry.objects.get(verb="cancel")
    assert (entry.by, entry.reason) == ("ada", "wrong one")
    assert entry.command == f"manage.py signal_tasks operations {pk} --cancel"


def test_a_stopped_operation_is_resumed(many: AsyncSignal) -> None:
    operation = stopped()
    assert told("operations", operation.pk, "--resume")["state"] == "running"


def test_what_is_not_stopped_is_not_resumed(many: AsyncSignal) -> None:
    pk = told("replay", "--all")["id"]
    with pytest.raises(CommandError) as refused:
        command("operations", pk, "--resume")
    assert str(refused.value) == f"the replay {pk} is not stopped: it is pending"


def test_an_unknown_operation_is_an_error_that_names_the_last_one(
    many: AsyncSignal,
) -> None:
    pk = told("replay", "--all")["id"]
    with pytest.raises(CommandError, match=f"The last one was {pk}"):
        command("operations", uuid.uuid4())
    with pytest.raises(CommandError, match="Which operation is --cancel for"):
        command("operations", "--cancel")


# -- the audit trail --------------------------------------------------------------


def test_the_log_says_who_did_what_and_why(failing: AsyncSignal) -> None:
    assert command("log") == "no acts of operators\n"
    send(failing)
    command("discard", "--receiver", "t.failing", "--because", "spam", "--by", "ada")
    line, target, reason = command("log").splitlines()
    assert line.endswith("  ada  discard")
    assert target == "  deliveries to the receiver t.failing"
    assert reason == "  because: spam"
    (entry,) = told("log")
    assert (entry["verb"], entry["by"], entry["reason"]) == ("discard", "ada", "spam")


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (["--by", "ada"], 1),
        (["--by", "bob"], 0),
        (["--verb", "discard"], 1),
        (["--verb", "pause"], 0),
        (["--since", "1h"], 1),
        (["--until", "1h"], 0),
    ],
)
def test_the_log_is_filtered(
    wanted: list[str], number: int, failing: AsyncSignal
) -> None:
    send(failing)
    command("discard", "--all", "--by", "ada")
    assert len(told("log", *wanted)) == number


def test_a_note_is_found_in_the_log_by_the_verb_of_the_command(
    failing: AsyncSignal,
) -> None:
    send(failing)
    run_pending()
    group = operations.failure_groups()[0].fingerprint
    command("note", group, "ask the bank")
    (entry,) = told("log", "--verb", "note")
    assert (entry["verb"], entry["reason"]) == ("annotate", "ask the bank")


def test_a_verb_that_nobody_knows_is_an_error_with_similar_ones(db: None) -> None:
    with pytest.raises(CommandError, match=r"no act paus.* Did you mean pause"):
        command("log", "--verb", "paus")


def test_the_command_of_an_entry_does_the_same_again(failing: AsyncSignal) -> None:
    send(failing)
    operations.discard(
        Selection(receiver="t.failing", state="pending"), reason="it's spam", by="ada"
    ).work_off()
    line = AuditEntry.objects.get().command
    assert line == (
        "manage.py signal_tasks discard --receiver t.failing --state pending "
        """--because 'it'"'"'s spam'"""
    )


def test_the_command_of_everything_says_all(many: AsyncSignal) -> None:
    command("replay", "--all")
    assert AuditEntry.objects.get().command == "manage.py signal_tasks replay --all"


def test_an_operation_that_is_over_is_seen_by_its_waiter_at_once(
    failing: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(failing)

    def never(seconds: Any) -> None:
        raise AssertionError("it was waited for")

    monkeypatch.setattr("time.sleep", never)
    assert command("discard", "--all", "--wait") == "1 delivery discarded\n"
