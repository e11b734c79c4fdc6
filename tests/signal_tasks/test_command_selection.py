"""Which deliveries the verbs of the command are for, and what nobody knows."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.db.models import F

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery, Event, Worker
from signal_tasks.testing import run_pending
from tests.signal_tasks.command import command, told
from tests.signal_tasks.conftest import finish, listen

pytestmark = pytest.mark.django_db


@pytest.fixture
def dead(failing: AsyncSignal) -> Delivery:
    """A dead letter of an hour ago, about orders.order:5."""
    failing.send(sender=None)
    run_pending()
    Event.objects.update(subject="orders.order:5")
    before = F("finished_at") - timedelta(hours=1)
    Delivery.objects.update(finished_at=before)
    delivery: Delivery = Delivery.objects.get()
    return delivery


@pytest.mark.parametrize(
    "selection",
    [
        ["--error", "ON PURPOSE"],
        ["--error", "ValueError"],
        ["--state", "dead"],
        ["--subject", "orders.order:5"],
        ["--since", "2h"],
        ["--until", "30m"],
        ["--since", "1d", "--until", "10m"],
        ["--since", "2020-01-01T00:00+01:00"],
        ["--since", "2020-01-01 00:00Z"],
    ],
    ids=" ".join,
)
def test_a_dead_letter_is_found_by(selection: list[str], dead: Delivery) -> None:
    assert told("replay", *selection, "--dry-run")["total"] == 1


@pytest.mark.parametrize(
    "selection",
    [
        ["--error", "another"],
        ["--state", "discarded"],
        ["--reason", "lost"],
        ["--since", "10m"],
        ["--until", "2h"],
        ["--until", "2020-01-01T00:00Z"],
    ],
    ids=" ".join,
)
def test_a_selection_that_matches_nothing_is_said_to(
    selection: list[str], dead: Delivery
) -> None:
    assert command("replay", *selection) == "0 deliveries replayed\n"
    dead.refresh_from_db()
    assert dead.state == "dead"


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    for verb in ("replay", "dead", "discard"):
        with pytest.raises(CommandError, match="before --since: swap them"):
            command(verb, "--since", "1h", "--until", "2020-01-01T00:00Z")


def test_discarded_ones_are_replayed_if_that_state_is_asked_for(
    dead: Delivery,
) -> None:
    finish(Delivery.objects, "discarded")
    assert command("replay", "--all").startswith("0")
    assert command("replay", "--state", "discarded").startswith("1")


# -- what nobody knows ------------------------------------------------------------


@pytest.mark.parametrize("verb", ["replay", "discard", "dead"])
def test_an_unknown_receiver_is_an_error_that_suggests_one(
    verb: str, dead: Delivery
) -> None:
    with pytest.raises(CommandError, match=r"no receiver t\.faling\. Did you mean t\."):
        command(verb, "--receiver", "t.faling")


def test_receivers_that_only_the_database_knows_are_known_and_suggested(
    dead: Delivery,
) -> None:
    Delivery.objects.update(receiver="former.receiver")
    assert command("replay", "--receiver", "former.receiver").startswith("1")
    with pytest.raises(CommandError, match=r"Did you mean former\.receiver"):
        command("replay", "--receiver", "former.reciever")


def test_a_known_name_without_a_delivery_is_no_error(signal: AsyncSignal) -> None:
    listen(signal, name="t.idle")
    assert command("replay", "--receiver", "t.idle") == "0 deliveries replayed\n"
    assert command("replay", "--signal", signal.name) == "0 deliveries replayed\n"


def test_an_unknown_signal_is_an_error_that_suggests_one(signal: AsyncSignal) -> None:
    listen(signal)
    typo = f"{signal.name[:-1]}-"
    with pytest.raises(CommandError, match=f"Did you mean {signal.name}"):
        command("discard", "--signal", typo)


def test_an_unknown_subject_is_an_error_that_suggests_one(dead: Delivery) -> None:
    with pytest.raises(CommandError, match=r"Did you mean orders\.order:5"):
        command("replay", "--subject", "orders.order:55")
    with pytest.raises(CommandError, match=r"write app\.model:pk"):
        command("replay", "--subject", "5")


def test_an_unknown_model_in_a_subject_suggests_one_of_the_project() -> None:
    with pytest.raises(CommandError, match=r"Did you mean testapp\.effect:5"):
        command("replay", "--subject", "testapp.efect:5")


def test_an_unknown_failure_group_is_an_error(dead: Delivery) -> None:
    with pytest.raises(CommandError, match="no failure group 0123456789abcdef"):
        command("replay", "--group", "0123456789abcdef")


@pytest.mark.parametrize("verb", ["replay", "discard", "dead"])
def test_an_unknown_id_is_an_error(verb: str, dead: Delivery) -> None:
    unknown = uuid.uuid4()
    with pytest.raises(CommandError, match=f"no delivery {unknown}"):
        command(verb, dead.pk, unknown)


def test_the_id_of_an_event_is_answered_with_its_deliveries(dead: Delivery) -> None:
    with pytest.raises(CommandError, match=f"It is an event.*{dead.pk}"):
        command("replay", dead.event_id)


@pytest.mark.parametrize("target", ["queue:emial", "emial"])
def test_an_unknown_queue_is_an_error_that_suggests_one(
    target: str, signal: AsyncSignal
) -> None:
    listen(signal, queue="email")
    with pytest.raises(CommandError, match=r"Did you mean '?email"):
        command("pause", target)


@pytest.mark.parametrize("target", ["receiver:t.failling", "signal:no.such"])
def test_an_unknown_target_is_an_error(target: str, failing: AsyncSignal) -> None:
    with pytest.raises(CommandError, match="There is no"):
        command("pause", target)


def test_a_queue_that_a_worker_consumes_is_known() -> None:
    Worker.objects.create(name="celery@here", queues="slow\nfast")
    assert "queue:slow is paused" in command("pause", "queue:slow")


# -- times ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("yesterday", "is no time; give 30s, 15m, 2h"),
        ("2026-01-01", "has no time zone"),
        ("2026-01-01T10:00", "has no time zone"),
        ("0h", "no length of time"),
        ("9999999999d", "no length of time"),
        ("-1h", "is no time|expected one argument"),
        ("", "is no time"),
    ],
)
def test_what_is_no_time_is_an_error_that_says_what_is(text: str, hint: str) -> None:
    with pytest.raises(CommandError, match=hint):
        command("replay", "--since", text)


@pytest.mark.parametrize("text", ["2020-01-01T00:00Z", "0m"])
def test_a_pause_ends_in_the_future(text: str) -> None:
    with pytest.raises(CommandError, match=r"is over already|no length"):
        command("pause", "*", "--until", text)
