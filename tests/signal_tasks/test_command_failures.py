"""Dead letters from the command: listed, grouped, annotated, acknowledged."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from signal_tasks import AsyncSignal, health
from signal_tasks.models import Attempt, AuditEntry, Delivery, FailureGroup, Worker
from signal_tasks.testing import run_pending
from tests.signal_tasks.command import Terminal, command, told
from tests.signal_tasks.conftest import listen, send

pytestmark = pytest.mark.django_db


@pytest.fixture
def dead(failing: AsyncSignal) -> Delivery:
    """A dead letter."""
    send(failing)
    run_pending()
    delivery: Delivery = Delivery.objects.get()
    return delivery


def test_dead_letters_are_listed_with_their_last_error(dead: Delivery) -> None:
    first, receiver, error, total = command("dead").splitlines()
    assert first.startswith(f"{dead.pk}  ")
    assert first.endswith("  exhausted")
    assert receiver == "  t.failing"
    assert error == "  ValueError: on purpose"
    assert total == "1 dead"
    (letter,) = told("dead")
    assert (letter["id"], letter["receiver"]) == (str(dead.pk), "t.failing")
    assert (letter["error_type"], letter["error"]) == ("ValueError", "on purpose")
    assert letter["group"] == FailureGroup.objects.get().pk


def test_what_is_not_dead_is_not_listed(signal: AsyncSignal) -> None:
    listen(signal)
    send(signal)
    assert command("dead") == "no dead letters\n"
    assert told("dead") == []


def test_dead_letters_are_selected(dead: Delivery, failing: AsyncSignal) -> None:
    send(failing)
    run_pending()
    assert len(told("dead")) == 2
    assert len(told("dead", dead.pk)) == 1
    assert len(told("dead", "--error", "another")) == 0
    assert len(told("dead", "--group", FailureGroup.objects.get().pk)) == 2
    assert command("dead", "--limit", "1").endswith(
        "1 of 2 dead letters; --limit shows more\n"
    )


def test_the_run_of_a_replayed_letter_is_told(dead: Delivery) -> None:
    command("replay", dead.pk)
    run_pending()
    assert ", run 2" in command("dead")
    assert told("dead")[0]["run"] == 2


def test_what_an_error_says_does_not_steer_the_terminal(dead: Delivery) -> None:
    said = "\x1b[31mred\x07\r\n" + "x" * 500
    Attempt.objects.update(error=said)
    lines = command("dead").splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() and len(line) <= 80 for line in lines)


def test_what_an_error_says_is_cut_to_the_terminal(
    dead: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    Attempt.objects.update(error="x" * 500)
    monkeypatch.setenv("COLUMNS", "200")
    assert max(map(len, command("dead").splitlines())) == 80
    for columns, width in ("200", 200), ("40", 80):
        monkeypatch.setenv("COLUMNS", columns)
        out = Terminal()
        call_command("signal_tasks", "dead", stdout=out)
        assert max(map(len, out.getvalue().splitlines())) == width


# -- groups -----------------------------------------------------------------------


def test_failure_groups_are_listed_in_80_columns(dead: Delivery) -> None:
    group = FailureGroup.objects.get()
    heading, first, where, error, how = command("dead", "--group").splitlines()
    assert heading.split() == ["fingerprint", "dead", "failures", "last", "seen"]
    assert first.split()[:3] == [group.pk, "1", "1"]
    assert where.startswith("  t.failing in ")
    assert error == "  ValueError: on purpose"
    assert how == "its dead letters: manage.py signal_tasks dead --group FINGERPRINT"
    assert all(len(line) <= 80 for line in (heading, first, where, error, how))
    (shown,) = told("dead", "--group")
    assert (shown["fingerprint"], shown["dead"]) == (group.pk, 1)


def test_groups_are_listed_by_receiver_and_by_nothing_else(
    dead: Delivery, signal: AsyncSignal
) -> None:
    listen(signal, name="t.well")
    assert len(told("dead", "--group", "--receiver", "t.failing")) == 1
    said = command("dead", "--group", "--receiver", "t.well")
    assert said == "no failure groups\n"
    with pytest.raises(CommandError, match="not by error"):
        command("dead", "--group", "--error", "x")


def test_groups_without_dead_letters_are_listed_only_if_they_are_asked_for(
    dead: Delivery,
) -> None:
    command("discard", dead.pk)
    assert told("dead", "--group") == []
    said = command("dead", "--group")
    assert said == "no failure groups with dead letters; --all lists the others\n"
    (shown,) = told("dead", "--group", "--all")
    assert shown["dead"] == 0
    with pytest.raises(CommandError, match="--all is for a list of groups"):
        command("dead", "--all")


def test_what_failed_with_one_error_is_replayed_by_its_group(
    dead: Delivery, failing: AsyncSignal
) -> None:
    group = FailureGroup.objects.get().pk
    send(failing)
    run_pending()
    Attempt.objects.exclude(delivery=dead).update(fingerprint="another")
    assert command("replay", "--group", group) == "1 delivery replayed\n"
    dead.refresh_from_db()
    assert dead.state == "pending"


# -- notes and looks --------------------------------------------------------------


def test_a_note_is_written_shown_and_removed(dead: Delivery) -> None:
    group = FailureGroup.objects.get().pk
    command("note", group, "mail server down", "--by", "ada")
    assert "  note: mail server down" in command("dead", "--group").splitlines()
    entry = AuditEntry.objects.get()
    assert (entry.by, entry.reason) == ("ada", "mail server down")
    assert entry.command == f"manage.py signal_tasks note {group} 'mail server down'"
    assert told("note", group, "") == {"group": group, "note": ""}
    assert "note:" not in command("dead", "--group")


def test_a_note_on_no_group_is_an_error_that_suggests_one(dead: Delivery) -> None:
    group = FailureGroup.objects.get().pk
    with pytest.raises(CommandError, match=f"Did you mean {group}"):
        command("note", f"{group[:-1]}-", "text")


def test_seen_dead_letters_are_no_problem_any_more(
    dead: Delivery, failing: AsyncSignal
) -> None:
    Worker.objects.create(name="celery@here")
    assert not health()["healthy"]
    said = command("acknowledge", "--by", "ada", "--because", "ticket 7")
    assert said == "seen by ada: 1 delivery that died since the last look\n"
    assert health()["healthy"]
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.by, entry.reason) == ("acknowledge", "ada", "ticket 7")
    assert entry.target == "1 dead letter"
    send(failing)
    run_pending()
    assert not health()["healthy"]
    assert told("acknowledge", "--by", "ada") == {"by": "ada", "acknowledged": 1}


def test_failures_of_each_run_are_told_apart(dead: Delivery) -> None:
    command("replay", dead.pk)
    run_pending()
    (delivery,) = told("inspect", dead.pk)["deliveries"]
    runs = [(each["run"], each["number"]) for each in delivery["failures"]]
    assert runs == [(1, 1), (2, 1)]
