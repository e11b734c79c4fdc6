"""Pause, resume, limit and clear from the command."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.utils import timezone

from signal_tasks import AsyncSignal
from signal_tasks.models import AuditEntry, Control
from signal_tasks.testing import run_pending
from tests.signal_tasks.command import command, told
from tests.signal_tasks.conftest import listen, send

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls(signal: AsyncSignal) -> list[object]:
    """The calls of the receiver t.steered."""
    return listen(signal, name="t.steered", queue="email")


def test_what_is_paused_does_not_start_until_it_is_resumed(
    calls: list[object], signal: AsyncSignal
) -> None:
    said = command("pause", "t.steered")
    assert said == "receiver:t.steered is paused; what runs finishes\n"
    send(signal)
    run_pending()
    assert calls == []
    assert command("resume", "t.steered") == "receiver:t.steered is resumed\n"
    run_pending()
    assert len(calls) == 1


@pytest.mark.parametrize("option", ["--reason", "--because"])
def test_a_pause_has_a_reason_an_author_and_an_end(
    option: str, calls: list[object]
) -> None:
    command("pause", "queue:email", "--until", "2h", option, "mail", "--by", "ada")
    control = Control.objects.get()
    assert (control.target, control.reason, control.by) == (
        "queue:email",
        "mail",
        "ada",
    )
    assert control.until is not None
    assert timedelta(minutes=119) < control.until - timezone.now() < timedelta(hours=3)
    assert AuditEntry.objects.get().by == "ada"


def test_why_it_goes_on_is_in_the_audit_trail(calls: list[object]) -> None:
    command("pause", "t.steered")
    command("limit", "t.steered", "--rate", "1/m")
    for verb in ("resume", "clear"):
        command(verb, "t.steered", "--because", "mail is back", "--by", "ada")
        entry = AuditEntry.objects.get(verb=verb)
        assert (entry.by, entry.reason) == ("ada", "mail is back")
        assert "--reason 'mail is back' --by ada" in entry.command


def test_pauses_are_listed(calls: list[object]) -> None:
    assert command("pause") == "nothing is paused\n"
    command("pause", "*", "--reason", "deploy", "--by", "ada")
    target, who, why = command("pause").splitlines()
    assert (target, why) == ("*", "  because: deploy")
    assert who.endswith(" by ada")
    assert [each["target"] for each in told("pause")] == ["*"]


def test_steering_prints_what_is_in_force_as_an_object(calls: list[object]) -> None:
    paused = told("pause", "t.steered", "--by", "ada")
    assert paused["target"] == "receiver:t.steered"
    assert paused["in_force"]["by"] == "ada"
    assert told("resume", "t.steered")["in_force"] is None


def test_what_is_not_paused_is_not_resumed(calls: list[object]) -> None:
    command("pause", "queue:email")
    with pytest.raises(CommandError, match="paused now: queue:email"):
        command("resume", "t.steered")


def test_an_unknown_target_suggests_a_known_one(calls: list[object]) -> None:
    with pytest.raises(CommandError, match=r"Did you mean 't\.steered'"):
        command("pause", "t.stered")


def test_a_limit_is_set_listed_and_cleared(calls: list[object]) -> None:
    assert command("limit") == "nothing is limited\n"
    said = command("limit", "t.steered", "--rate", "100/m", "--max-concurrency", "4")
    assert said == "receiver:t.steered is limited to 100/m, 4 at a time\n"
    target, limits, _ = command("limit").splitlines()
    assert (target, limits) == ("receiver:t.steered", "  100/m, 4 at a time")
    (listed,) = told("limit")
    assert (listed["rate"], listed["max_concurrency"]) == ("100/m", 4)
    said = command("clear", "t.steered")
    assert said == "receiver:t.steered is not limited any more\n"
    assert not Control.objects.exists()


def test_a_limit_without_a_number_is_an_error(calls: list[object]) -> None:
    with pytest.raises(CommandError, match="give a rate"):
        command("limit", "t.steered")
    with pytest.raises(CommandError, match="rate is 'fast'"):
        command("limit", "t.steered", "--rate", "fast")


def test_what_is_not_limited_is_not_cleared(calls: list[object]) -> None:
    with pytest.raises(CommandError, match="limited now: nothing"):
        command("clear", "t.steered")


def test_a_limit_and_its_end_are_in_the_audit_trail(calls: list[object]) -> None:
    command(
        "limit", "queue:email", "--rate", "5", "--because", "they ask", "--by", "ada"
    )
    command("clear", "queue:email", "--by", "bob")
    clear, limit = told("log")
    assert (limit["verb"], limit["by"], limit["reason"]) == ("limit", "ada", "they ask")
    assert (clear["verb"], clear["by"]) == ("clear", "bob")


@pytest.mark.parametrize("verb", ["limit", "pause"])
def test_the_line_in_the_audit_trail_does_the_same_again(
    verb: str, calls: list[object]
) -> None:
    rate = ["--rate", "5"] if verb == "limit" else []
    command(verb, "queue:email", *rate, "--because", "it is slow", "--by", "ada")
    (entry,) = told("log")
    words = shlex.split(entry["command"])
    assert words[:3] == ["manage.py", "signal_tasks", verb]
    command(*words[2:])
    again, first = told("log")
    assert {**again, "at": None} == {**first, "at": None}
