"""``manage.py signal_tasks``: the output, effect and exit status of each verb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError, connection
from django.db.models import F

from signal_tasks import AsyncSignal, RetryPolicy, health, signals
from signal_tasks.commands import Output
from signal_tasks.models import Delivery, Event, History, Worker
from signal_tasks.models.history import ALL, TOTAL
from signal_tasks.states import State
from signal_tasks.testing import run_pending
from tests.signal_tasks.command import command, told
from tests.signal_tasks.conftest import finish, listen, send
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db

COUNTS = {*State.values, "retrying", "orphaned", "parked"}


# -- status -----------------------------------------------------------------------


def test_status_without_a_worker_is_unhealthy() -> None:
    text = command("status", status=1)
    assert "workers: none" in text
    assert "nothing is due" in text


def test_status_tells_that_what_is_due_waits_for_its_turn(signal: AsyncSignal) -> None:
    listen(signal, name="t.ordered", ordered=True)
    for _ in range(2):
        signal.using(key="k").send(sender=None)
    first = Delivery.objects.order_by("pk")[0]
    finish(Delivery.objects.filter(pk=first.pk), "dead")
    text = command("status", status=1)
    assert "nothing is due" not in text
    assert "nothing may start now; what is pending waits for its time or turn" in text


def test_status_with_a_worker_is_healthy() -> None:
    Worker.objects.create(name="celery@here")
    assert "workers: celery@here" in command("status")


def test_a_worker_that_was_not_seen_for_long_does_not_count(settings: Any) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "WORKER_TTL": 30}
    Worker.objects.create(name="celery@gone")
    Worker.objects.update(seen_at=F("seen_at") - timedelta(seconds=31))
    command("status", status=1)


def test_what_waits_too_long_is_unhealthy_though_a_worker_lives(
    signal: AsyncSignal,
) -> None:
    Worker.objects.create(name="celery@here")
    listen(signal)
    send(signal)
    assert json.loads(command("status", "--json"))["oldest_pending_age_s"] < 60
    Delivery.objects.update(available_at=F("available_at") - timedelta(hours=1))
    told = json.loads(command("status", "--json", status=1))
    assert 3500 < told["oldest_pending_age_s"] < 3700


def test_the_object_of_status_has_the_keys_that_were_promised(
    signal: AsyncSignal, failing: AsyncSignal
) -> None:
    listen(signal, name="t.status")
    Worker.objects.create(name="celery@here")
    send_both = signal.send(sender=None)
    assert len(send_both) == 2
    run_pending()
    signal.send(sender=None)
    told = json.loads(command("status", "--json", status=1))
    others = {"oldest_pending_age_s", "workers", "receivers", "healthy", "problems"}
    assert set(told) == COUNTS | others | {"rescued", "broker_errors", "complete"}
    assert told["workers"] == ["celery@here"]
    assert (told["pending"], told["succeeded"], told["dead"]) == (2, 1, 1)
    assert all(set(counts) == COUNTS for counts in told["receivers"].values())
    assert told["receivers"]["t.failing"]["dead"] == 1
    assert told["receivers"]["t.status"]["pending"] == 1


def test_a_receiver_without_deliveries_is_listed_with_zeros(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.idle")
    told = json.loads(command("status", "--json", status=1))
    assert set(told["receivers"]["t.idle"].values()) == {0}
    assert told["oldest_pending_age_s"] is None


def test_an_orphan_is_counted_as_pending_and_as_orphaned(signal: AsyncSignal) -> None:
    listen(signal, name="t.orphaned")
    signal.send(sender=None)
    Delivery.objects.update(orphaned=True)
    told = json.loads(command("status", "--json", status=1))
    assert (told["pending"], told["orphaned"]) == (1, 1)
    assert told["receivers"]["t.orphaned"]["orphaned"] == 1


def test_what_is_delayed_does_not_wait_yet(signal: AsyncSignal) -> None:
    listen(signal)
    signal.using(delay=3600).send(sender=None)
    told = json.loads(command("status", "--json", status=1))
    assert (told["pending"], told["oldest_pending_age_s"]) == (1, None)


def test_any_process_may_ask_for_the_health(signal: AsyncSignal) -> None:
    assert health()["healthy"] is False
    assert "no live worker" in health()["problems"][0]
    Worker.objects.create(name="celery@here")
    assert health()["healthy"] is True
    assert health()["problems"] == []


# -- list -------------------------------------------------------------------------


def test_list_tells_signals_with_their_receivers_and_options(
    signal: AsyncSignal,
) -> None:
    listen(
        signal,
        name="t.listed",
        aliases=["t.former"],
        queue="email",
        atomic=False,
        timeout=30,
        retry=RetryPolicy(max_attempts=8, give_up_on=(KeyError,)),
    )
    told = json.loads(command("list", "--json"))
    (receiver,) = told[signal.name]
    assert (receiver["name"], receiver["aliases"]) == ("t.listed", ["t.former"])
    assert (receiver["queue"], receiver["atomic"]) == ("email", False)
    assert receiver["timeout"] == 30
    assert receiver["retry"]["max_attempts"] == 8
    assert receiver["retry"]["give_up_on"] == ["KeyError"]
    text = command("list")
    assert signal.name in text
    assert "retry(max_attempts=8, give_up_on=['KeyError'])" in text


def test_a_reader_who_has_seen_enough_gets_no_traceback() -> None:
    words = [sys.executable, "-m", "django", "signal_tasks", "list"]
    settings = {"DJANGO_SETTINGS_MODULE": "tests.signal_tasks.settings"}
    process = subprocess.Popen(
        words, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (1, b"")


@pytest.mark.parametrize("verb", ["blocked", "pause", "limit", "dead", "operations"])
def test_a_database_that_is_down_is_a_line_and_no_traceback(verb: str) -> None:
    def is_down(*args: Any) -> Any:
        raise OperationalError("the server\nis down")

    with (
        connection.execute_wrapper(is_down),
        pytest.raises(CommandError, match=r"does not answer.*: the server\\nis down"),
    ):
        command(verb)


def test_list_knows_the_signals_of_every_app() -> None:
    told = json.loads(command("list", "--json"))
    names = [receiver["name"] for receiver in told["tests.testapp.signals.happened"]]
    assert "tests.testapp.receivers.note_atomically" in names


# -- replay and discard -----------------------------------------------------------


def test_a_dead_delivery_is_replayed_with_all_its_attempts(
    failing: AsyncSignal,
) -> None:
    handle = send(failing)
    run_pending()
    assert command("replay", str(handle.id)) == "1 delivery replayed\n"
    handle.refresh()
    assert (handle.state, handle.attempts, handle.reason) == ("pending", 0, "")
    run_pending()
    assert handle.refresh().state == "dead"


@pytest.mark.parametrize(
    "selection",
    [
        ["--receiver", "t.failing"],
        ["--reason", "exhausted"],
        ["--all"],
        ["--receiver", "t.failing", "--reason", "exhausted"],
    ],
)
def test_dead_deliveries_are_selected_by_what_they_have_in_common(
    selection: list[str], failing: AsyncSignal
) -> None:
    for _ in range(3):
        send(failing)
    run_pending()
    dry = command("replay", *selection, "--dry-run")
    assert dry == "3 deliveries would be replayed\n"
    assert Delivery.objects.dead().count() == 3
    assert command("replay", *selection) == "3 deliveries replayed\n"


def test_they_are_selected_by_signal(failing: AsyncSignal) -> None:
    send(failing)
    run_pending()
    with pytest.raises(CommandError, match=r"There is no signal no\.such"):
        command("replay", "--signal", "no.such")
    assert command("replay", "--signal", failing.name).startswith("1")


def test_without_a_selection_nothing_is_changed(failing: AsyncSignal) -> None:
    with pytest.raises(CommandError, match="Which deliveries"):
        command("replay")
    with pytest.raises(CommandError, match="Which deliveries"):
        command("discard")


def test_what_is_done_or_pending_is_not_replayed(signal: AsyncSignal) -> None:
    listen(signal)
    handle = send(signal)
    assert command("replay", str(handle.id)).startswith("0")
    run_pending()
    assert command("replay", str(handle.id)).startswith("0")
    assert command("replay", "--all").startswith("0")


def test_a_discarded_delivery_is_replayed_only_by_its_id(signal: AsyncSignal) -> None:
    calls = listen(signal)
    handle = send(signal)
    assert command("discard", str(handle.id)) == "1 delivery discarded\n"
    assert handle.refresh().state == "discarded"
    assert run_pending() == []
    assert command("replay", "--all").startswith("0")
    assert command("replay", str(handle.id)).startswith("1")
    run_pending()
    assert len(calls) == 1


def test_what_runs_or_is_done_is_not_discarded(signal: AsyncSignal) -> None:
    def discard_myself(sender: object, **kwargs: Any) -> None:
        assert command("discard", "--all").startswith("0")

    signal.connect(discard_myself, name="t.discard_myself")
    handle = send(signal)
    run_pending()
    assert handle.refresh().state == "succeeded"
    assert command("discard", "--all").startswith("0")


def test_an_id_has_to_be_one() -> None:
    with pytest.raises(CommandError, match="invalid UUID value"):
        command("replay", "nonsense")


# -- prune ------------------------------------------------------------------------


def test_prune_deletes_what_finished_longer_ago_than_it_is_kept(
    signal: AsyncSignal, failing: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {
        **settings.SIGNAL_TASKS,
        "KEEP_SUCCEEDED": timedelta(days=1),
    }
    listen(signal, name="t.pruned")
    signal.send(sender=None)
    run_pending()
    assert command("prune") == "0 deliveries pruned\n"
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    assert command("prune") == "1 delivery pruned\n"
    assert Delivery.objects.get().receiver == "t.failing"  # the dead are kept
    assert Event.objects.count() == 1


# -- relay ------------------------------------------------------------------------


def test_relay_once_says_what_it_did_and_leaves() -> None:
    text = command("relay", "--once")
    assert text == "default: 0 published, 0 recovered, 0 orphaned, 0 parked, 0 pruned\n"
    assert not Worker.objects.exists()


def test_what_a_pass_and_a_pruning_did_are_objects_too() -> None:
    assert told("relay", "--once")["default"]["published"] == 0
    assert told("prune") == {"pruned": 0}


@pytest.mark.django_db(transaction=True)
def test_relay_once_is_counted_as_any_other_relay(signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None)
    Delivery.objects.update(next_check_at=F("next_check_at") - timedelta(days=1))
    was_heard = signals.attempt_finished.has_listeners()
    assert told("relay", "--once")["default"]["published"] == 1
    totals = History.objects.filter(receiver=ALL, step=TOTAL)
    assert totals.values("published").get() == {"published": 1}
    assert signals.attempt_finished.has_listeners() == was_heard


# -- inspect ----------------------------------------------------------------------


def test_inspect_tells_all_about_an_event(failing: AsyncSignal) -> None:
    bound = failing.using(headers={"trace": "abc"})
    ((_, handle),) = bound.send(sender=None, number=7)
    run_pending()
    by_event = json.loads(command("inspect", str(handle.event_id)))
    by_delivery = json.loads(command("inspect", str(handle.id)))
    assert by_event == by_delivery
    assert by_event["signal"] == failing.name
    assert by_event["headers"] == {"trace": "abc"}
    assert by_event["payload"]["kwargs"] == {"number": 7}
    (delivery,) = by_event["deliveries"]
    assert (delivery["receiver"], delivery["state"]) == ("t.failing", "dead")
    (failure,) = delivery["failures"]
    assert (failure["error_type"], failure["error"]) == ("ValueError", "on purpose")


def test_inspect_shows_a_damaged_payload_as_it_is(failing: AsyncSignal) -> None:
    handle = send(failing)
    Event.objects.update(payload="{damaged")
    assert json.loads(command("inspect", str(handle.id)))["payload"] == "{damaged"


@pytest.mark.parametrize(
    "stored",
    ["9" * 5_000, "[" * 100_000, "[" * 900 + "]" * 900],
    ids=["a number of 5,000 digits", "deep, without an end", "deep"],
)
def test_inspect_shows_what_cannot_be_laid_out_as_it_is(
    stored: str, failing: AsyncSignal
) -> None:
    handle = send(failing)
    Event.objects.update(payload=stored, headers=stored)
    told = json.loads(command("inspect", str(handle.id)))
    assert (told["payload"], told["headers"]) == (stored, stored)


def test_a_person_at_a_terminal_reads_an_event_as_text(
    failing: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((_, handle),) = failing.send(sender=None, text="\x1b[31mred")
    run_pending()
    monkeypatch.setattr(Output, "is_terminal", True)
    event, call, delivery, state, attempt, error, *traceback = command(
        "inspect", handle.id
    ).splitlines()
    assert event.startswith(f"event {handle.event_id}  ")
    assert call == f"  {failing.name}  text='\\x1b[31mred'"
    assert delivery == f"delivery {handle.id}  t.failing"
    assert state.startswith("  dead (exhausted), 1 attempt, finished ")
    assert attempt.startswith("  attempt 1  ")
    assert error == "    ValueError: on purpose"
    assert traceback[0] == "    Traceback (most recent call last):"
    assert json.loads(command("inspect", handle.id, "--json"))


def test_inspect_says_when_there_is_none() -> None:
    with pytest.raises(CommandError, match="no event or delivery"):
        command("inspect", str(uuid.uuid4()))


# -- several databases ------------------------------------------------------------


@pytest.mark.django_db(databases=["default", "other"])
def test_every_database_is_counted_and_changed(
    failing: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": None}
    for database in ("default", "other"):
        Worker.objects.using(database).create(name="celery@here")
        failing.using(database=database).send(sender=None)
    told = json.loads(command("status", "--json"))
    assert (told["pending"], told["workers"]) == (2, ["celery@here"])
    run_pending()
    assert command("replay", "--all").startswith("2")
    assert not Effect.objects.exists()


@pytest.mark.parametrize("verb", ["replay", "discard"])
@pytest.mark.parametrize("name", ["", " ", "a\0b", "\ud800", "x" * 256])
def test_an_unset_or_odd_name_selects_nothing_and_is_an_error(
    name: str, verb: str, failing: AsyncSignal
) -> None:
    send(failing)
    run_pending()
    with pytest.raises(CommandError, match="cannot be the name"):
        command(verb, "--receiver", name, "--signal", failing.name)
    assert Delivery.objects.get().state == "dead"


def test_a_state_that_this_release_does_not_know_is_counted(
    failing: AsyncSignal,
) -> None:
    send(failing)
    finish(Delivery.objects, "newer")
    told = json.loads(command("status", "--json", status=1))
    assert (told["newer"], told["pending"]) == (1, 0)


def test_a_dry_run_counts_only_what_would_change(failing: AsyncSignal) -> None:
    for _ in range(2):
        send(failing)
    run_pending()
    assert command("discard", "--all", "--dry-run").startswith("2 deliveries")
    command("discard", "--all")
    assert command("discard", "--all", "--dry-run").startswith("0 deliveries")
    assert command("replay", "--all", "--dry-run").startswith("0 deliveries")
