"""Blocked keys from the command: seen, and passed."""

from __future__ import annotations

import uuid

import pytest
from django.core.management import CommandError

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.models import AuditEntry, Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.command import command, told

pytestmark = pytest.mark.django_db


@pytest.fixture
def dead(signal: AsyncSignal) -> Delivery:
    """A dead letter of the ordered receiver t.blocked_key, with one delivery behind it."""

    def fail(sender: object, number: int, **kwargs: object) -> None:
        if number == 1:
            raise ValueError("on purpose")

    policy = RetryPolicy(max_attempts=1)
    signal.connect(fail, name="t.blocked_key", weak=False, retry=policy, ordered=True)
    for number in (1, 2):
        signal.using(key="order 5").send(sender=None, number=number)
    run_pending()
    delivery: Delivery = Delivery.objects.get(state="dead")
    return delivery


def test_a_blocked_key_is_listed_with_what_waits_and_why(dead: Delivery) -> None:
    first, key, waiting, error, how = command("blocked").splitlines()
    assert first.startswith(f"{dead.pk}  ")
    assert first.endswith("  dead exhausted")
    assert (key, waiting) == ("  t.blocked_key order 5", "  1 delivery behind it")
    assert error == "  ValueError: on purpose"
    assert how.endswith("manage.py signal_tasks skip ID")
    (shown,) = told("blocked", "--receiver", "t.blocked_key")
    assert (shown["key"], shown["waiting"]) == ("order 5", 1)
    assert shown["delivery_id"] == str(dead.pk)


def test_skips_are_found_in_the_log_though_there_are_none() -> None:
    assert told("log", "--verb", "skip") == []


def test_nothing_is_blocked_without_ordered_receivers(failing: AsyncSignal) -> None:
    assert command("blocked", "--receiver", "t.failing") == "no key is blocked\n"
    with pytest.raises(CommandError, match=r"Did you mean t\.failing"):
        command("blocked", "--receiver", "t.faling")


def test_what_waits_runs_once_the_dead_letter_is_skipped(dead: Delivery) -> None:
    said = command("skip", dead.pk, "--because", "spam", "--by", "ada")
    assert said == f"{dead.pk} is skipped; it stays dead\n"
    run_pending()
    states = Delivery.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["dead", "succeeded"]
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.by, entry.reason) == ("skip", "ada", "spam")
    assert len(told("log", "--verb", "skip")) == 1
    assert command("blocked") == "no key is blocked\n"


def test_only_a_dead_letter_that_blocks_is_skipped(dead: Delivery) -> None:
    other = Delivery.objects.exclude(pk=dead.pk).get()
    with pytest.raises(CommandError, match="only dead letters are skipped"):
        command("skip", other.pk)
    assert told("skip", dead.pk) == {"skipped": [str(dead.pk)]}
    with pytest.raises(CommandError, match="nothing waits behind it"):
        command("skip", dead.pk)


def test_an_unknown_id_is_not_skipped() -> None:
    unknown = uuid.uuid4()
    with pytest.raises(CommandError, match=f"no delivery {unknown}"):
        command("skip", unknown)
