"""What operators did is written down: who, what, to what, and why."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from signal_tasks.audit import Act, command_line, name_of, record
from signal_tasks.models import AuditEntry


@pytest.mark.django_db
def test_an_act_is_recorded_with_who_and_why() -> None:
    act = Act(verb="pause", target="*", by="ada", reason="the mail server is down")
    record(act, database="default")
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.target, entry.by) == ("pause", "*", "ada")
    assert entry.reason == "the mail server is down"
    assert str(entry) == "pause * by ada"


@pytest.mark.django_db(transaction=True)
def test_an_act_that_is_rolled_back_leaves_no_entry() -> None:
    with transaction.atomic():
        record(Act(verb="pause", target="*"), database="default")
        transaction.set_rollback(True)
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("by", "name"),
    [
        (None, ""),
        ("ada", "ada"),
        ("a" * 200, "a" * 150),
        (get_user_model()(username="grace"), "grace"),
    ],
)
def test_who_acts_is_a_user_or_a_name(by: Any, name: str) -> None:
    assert name_of(by) == name


def test_who_acts_cannot_be_anything_else() -> None:
    with pytest.raises(TypeError, match="give a user or a name"):
        name_of(7)


def test_the_command_for_an_act_can_be_pasted_into_a_shell() -> None:
    line = command_line("pause", "signal:a b", until=None, reason="don't", all=True)
    expected = (
        """manage.py signal_tasks pause 'signal:a b' --reason 'don'"'"'t' --all"""
    )
    assert line == expected
