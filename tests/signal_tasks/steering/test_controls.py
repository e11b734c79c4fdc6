"""Pausing and resuming: who, why, until when; and what is in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import F
from django.utils import timezone

from signal_tasks.models import AuditEntry, Control
from signal_tasks.operations import NotInForce, controls, pause, resume

pytestmark = pytest.mark.django_db(databases=["default", "other"])


@pytest.fixture
def _both(settings: Any) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": ["default", "other"]}


def test_a_pause_is_in_force_with_who_and_why() -> None:
    assert pause("queue:mail", reason="mail is down", by="ada") == "queue:mail"
    (control,) = controls()
    assert (control.kind, control.target) == ("pause", "queue:mail")
    assert (control.reason, control.by, control.until) == ("mail is down", "ada", None)
    assert control.databases == ("default",)
    assert abs(timezone.now() - control.since) < timedelta(minutes=1)


@pytest.mark.usefixtures("_both")
def test_a_pause_is_in_force_on_every_outbox() -> None:
    pause("*")
    (control,) = controls()
    assert control.databases == ("default", "other")
    resume("*")
    assert controls() == []
    for database in ("default", "other"):
        verbs = AuditEntry.objects.using(database).order_by("pk")
        assert list(verbs.values_list("verb", flat=True)) == ["pause", "resume"]


@pytest.mark.usefixtures("_both")
def test_a_pause_of_one_outbox_alone_is_shown_as_such_and_can_be_resumed() -> None:
    pause("*")
    Control.objects.using("default").all().delete()
    (control,) = controls()
    assert control.databases == ("other",)
    resume("*")
    assert controls() == []


def test_a_second_pause_replaces_the_first() -> None:
    pause("*", reason="one", by="ada", until=timedelta(hours=1))
    (first,) = controls()
    pause("*", reason="two", by="grace")
    (second,) = controls()
    assert (second.reason, second.by, second.until) == ("two", "grace", None)
    assert second.since == first.since


def test_a_pause_that_has_expired_is_not_in_force() -> None:
    pause("*", until=timedelta(hours=1))
    Control.objects.update(until=F("created_at") - timedelta(seconds=1))
    assert controls() == []
    pause("*", reason="again")
    (control,) = controls()
    assert control.reason == "again"


@pytest.mark.parametrize("is_moment", [True, False])
def test_a_pause_ends_at_a_moment_or_after_a_time(is_moment: bool) -> None:
    hour = timedelta(hours=1)
    pause("*", until=timezone.now() + hour if is_moment else hour)
    (control,) = controls()
    assert control.until is not None
    left = control.until - timezone.now()
    assert timedelta(minutes=50) < left <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("until", "error"),
    [
        (timedelta(0), ValueError),
        (timedelta(days=99_999), ValueError),
        (datetime(2001, 1, 1, tzinfo=UTC), ValueError),
        (datetime(2999, 1, 1), ValueError),  # noqa: DTZ001 - that is the error
        (60, TypeError),
    ],
)
def test_a_pause_cannot_end_at_any_other_time(
    until: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="until is"):
        pause("*", until=until)
    assert not Control.objects.exists()
    assert not AuditEntry.objects.exists()


def test_what_is_not_paused_cannot_be_resumed() -> None:
    pause("queue:mail")
    with pytest.raises(NotInForce, match=r"queue:post is not paused; .*: queue:mail$"):
        resume("queue:post")
    assert AuditEntry.objects.filter(verb="resume").count() == 0


def test_the_record_of_an_expired_pause_is_dropped_by_resume() -> None:
    pause("*", until=timedelta(hours=1))
    Control.objects.update(until=F("created_at") - timedelta(seconds=1))
    resume("*")
    assert not Control.objects.exists()


def test_what_operators_do_is_in_the_audit_trail() -> None:
    ada = get_user_model()(username="ada")
    pause("queue:mail", reason="down", by=ada)
    resume("queue:mail", by="grace")
    paused, resumed = AuditEntry.objects.order_by("pk")
    assert (paused.verb, paused.target) == ("pause", "queue:mail")
    assert (paused.by, paused.reason) == ("ada", "down")
    assert paused.command == (
        "manage.py signal_tasks pause queue:mail --reason down --by ada"
    )
    assert (resumed.verb, resumed.by) == ("resume", "grace")
    assert resumed.command == "manage.py signal_tasks resume queue:mail --by grace"
