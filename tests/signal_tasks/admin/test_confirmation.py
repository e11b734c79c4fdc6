"""Actions on deliveries: asked for, said exactly, done by an operation, and traced."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import F
from django.test import Client
from django.urls import reverse

from signal_tasks import AsyncSignal
from signal_tasks.admin import confirmation, deliveries, window
from signal_tasks.models import AuditEntry, Delivery, Event, Operation
from signal_tasks.testing import run_pending
from tests.signal_tasks.admin.conftest import act, ask, confirm, text
from tests.signal_tasks.conftest import finish, listen

pytestmark = pytest.mark.django_db

DELIVERIES = reverse("admin:signal_tasks_delivery_changelist")
VIEW = ("view_event", "view_delivery")
ALL = {"select_across": "1"}


def many_dead(number: int, signal: AsyncSignal) -> uuid.UUID:
    """Make dead letters; return the id of one."""
    signal.send_many(sender=None, items=[{}] * number)
    finish(Delivery.objects, "dead")
    before = F("finished_at") - timedelta(seconds=1)
    Delivery.objects.update(finished_at=before, reason="exhausted")
    first: Delivery = Delivery.objects.order_by("pk")[0]
    return first.pk


def test_nothing_is_changed_before_it_was_confirmed(
    admin_client: Client, dead: Delivery
) -> None:
    asked = text(ask(admin_client, DELIVERIES, "replay", dead.pk))
    assert "<strong>1 delivery</strong>" in asked
    assert "their receivers run again" in asked
    assert "t.failing: 1" in asked
    dead.refresh_from_db()
    assert dead.state == "dead"
    assert not Operation.objects.exists()


def test_a_confirmed_action_is_an_operation_with_author_and_reason(
    admin_client: Client, dead: Delivery
) -> None:
    asked = ask(admin_client, DELIVERIES, "replay", dead.pk)
    answer = confirm(admin_client, DELIVERIES, asked, reason="mail works again")
    operation = Operation.objects.get()
    page = reverse("admin:signal_tasks_operation_change", args=[operation.pk])
    assert page in text(answer)
    assert (operation.state, operation.by) == ("done", "admin")
    assert operation.reason == "mail works again"
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.by, entry.operation_id) == (
        "replay",
        "admin",
        operation.pk,
    )


def test_without_a_reason_it_is_asked_again(
    admin_client: Client, dead: Delivery
) -> None:
    asked = ask(admin_client, DELIVERIES, "discard", dead.pk)
    again = confirm(admin_client, DELIVERIES, asked, reason="  ")
    assert "This field is required." in text(again)
    assert not Operation.objects.exists()
    confirm(admin_client, DELIVERIES, again)
    dead.refresh_from_db()
    assert dead.state == "discarded"


def test_it_is_written_into_the_log_of_the_admin(
    admin_client: Client, dead: Delivery
) -> None:
    act(admin_client, DELIVERIES, "replay", dead.pk)
    of_operation, of_delivery = LogEntry.objects.order_by("pk")
    assert of_operation.object_id == str(Operation.objects.get().pk)
    assert of_delivery.object_id == str(dead.pk)
    for entry in (of_operation, of_delivery):
        assert "replay" in entry.get_change_message()
        assert "mended" in entry.get_change_message()


def test_the_permission_is_asked_for_at_both_steps(
    staff: Callable[..., Client], dead: Delivery
) -> None:
    client = staff(*VIEW, "replay_delivery")
    asked = ask(client, DELIVERIES, "replay", dead.pk)
    asked.context["user"].user_permissions.filter(codename="replay_delivery").delete()
    confirm(client, DELIVERIES, asked)
    dead.refresh_from_db()
    assert dead.state == "dead"
    assert not Operation.objects.exists()


def test_a_selection_that_was_confirmed_for_a_replay_discards_nothing(
    admin_client: Client, dead: Delivery
) -> None:
    asked = ask(admin_client, DELIVERIES, "replay", dead.pk)
    answer = confirm(admin_client, DELIVERIES, asked, action="discard")
    assert answer.status_code == 400
    dead.refresh_from_db()
    assert dead.state == "dead"


@pytest.mark.parametrize("forged", ["", "nonsense", "a:b:c"])
def test_a_forged_selection_is_refused(
    forged: str, admin_client: Client, dead: Delivery
) -> None:
    asked = ask(admin_client, DELIVERIES, "replay", dead.pk)
    answer = confirm(admin_client, DELIVERIES, asked, confirmed=forged)
    assert answer.status_code == 400
    assert not Operation.objects.exists()


# -- select all -------------------------------------------------------------------


def test_all_of_a_filtered_list_is_a_selection_of_what_it_is_filtered_by(
    admin_client: Client, failing: AsyncSignal, signal: AsyncSignal
) -> None:
    pk = many_dead(3, failing)
    listen(signal, name="t.other")
    signal.send(sender=None)
    url = f"{DELIVERIES}?state__exact=dead&receiver=t.failing"
    answer = text(act(admin_client, url, "replay", pk, **ALL))
    assert "3 deliveries changed." in answer
    words = Operation.objects.get().stored_selection
    assert '"receiver": "t.failing"' in words
    assert '"ids"' not in words


def test_all_of_a_list_may_be_those_about_one_object(
    admin_client: Client, failing: AsyncSignal
) -> None:
    pk = many_dead(2, failing)
    Event.objects.filter(deliveries=pk).update(subject="orders.order:5")
    url = f"{DELIVERIES}?q=orders.order:5"
    assert "1 delivery changed." in text(act(admin_client, url, "replay", pk, **ALL))
    assert "orders.order:5" in Operation.objects.get().stored_selection


def test_what_comes_to_the_list_before_the_confirmation_is_not_changed(
    admin_client: Client, failing: AsyncSignal
) -> None:
    pk = many_dead(2, failing)
    asked = ask(admin_client, DELIVERIES, "replay", pk, **ALL)
    failing.send(sender=None)
    run_pending()
    assert "2 deliveries changed." in text(confirm(admin_client, DELIVERIES, asked))
    assert Delivery.objects.filter(state="dead").count() == 1


def test_a_filter_that_no_selection_says_goes_by_ids(
    admin_client: Client, failing: AsyncSignal
) -> None:
    pk = many_dead(2, failing)
    url = f"{DELIVERIES}?orphaned__exact=0"
    assert "2 deliveries changed." in text(act(admin_client, url, "replay", pk, **ALL))
    assert '"ids"' in Operation.objects.get().stored_selection


def test_too_many_that_no_selection_says_are_refused_and_not_cut(
    admin_client: Client, failing: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MAX_COUNTED", 2)
    pk = many_dead(3, failing)
    url = f"{DELIVERIES}?orphaned__exact=0"
    answer = ask(admin_client, url, "replay", pk, **ALL)
    assert "no selection says which" in text(answer)
    assert not Operation.objects.exists()


def test_more_than_can_be_counted_is_said_to_be_more(
    admin_client: Client, failing: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmation, "MAX_COUNTED", 110)
    monkeypatch.setattr(window, "MAX_COUNTED", 110)
    pk = many_dead(120, failing)
    asked = ask(admin_client, DELIVERIES, "discard", pk, **ALL)
    assert "<strong>more than 110 deliveries</strong>" in text(asked)
    confirm(admin_client, DELIVERIES, asked)
    run_pending()
    assert Delivery.objects.filter(state="discarded").count() == 120


# -- canary -----------------------------------------------------------------------


@pytest.mark.parametrize(("number", "offered"), [(100, False), (101, True)])
def test_above_100_a_canary_is_offered(
    number: int, offered: bool, admin_client: Client, failing: AsyncSignal
) -> None:
    pk = many_dead(number, failing)
    asked = text(ask(admin_client, DELIVERIES, "replay", pk, **ALL))
    assert ('name="canary"' in asked) is offered


@pytest.mark.parametrize("wanted", [True, False])
def test_the_operation_goes_in_steps_if_that_was_chosen(
    wanted: bool, admin_client: Client, failing: AsyncSignal
) -> None:
    pk = many_dead(101, failing)
    asked = ask(admin_client, DELIVERIES, "replay", pk, **ALL)
    filled = {"canary": "on"} if wanted else {}
    answer = confirm(admin_client, DELIVERIES, asked, **filled)
    assert "Relays work it off." in text(answer)
    operation = Operation.objects.get()
    assert (operation.canary, operation.state) == (wanted, "pending")


# -- several databases ------------------------------------------------------------


@pytest.mark.django_db(databases=["default", "other"])
def test_all_of_the_list_is_what_the_list_shows(
    admin_client: Client, failing: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": None}
    pk = many_dead(2, failing)
    failing.using(database="other").send(sender=None)
    run_pending()
    asked = ask(admin_client, DELIVERIES, "replay", pk, **ALL)
    assert "<strong>2 deliveries</strong>" in text(asked)
    confirm(admin_client, DELIVERIES, asked)
    assert Delivery.objects.using("other").get().state == "dead"
