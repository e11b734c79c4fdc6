"""The admin of operations, failure groups, pauses and the audit trail, for each role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from signal_tasks import AsyncSignal, RetryPolicy, operations
from signal_tasks.models import (
    Attempt,
    AuditEntry,
    Control,
    Delivery,
    FailureGroup,
    HeldDelivery,
    Operation,
)
from signal_tasks.operations import Selection
from signal_tasks.testing import run_pending
from tests.signal_tasks.admin.conftest import act, ask, confirm, text
from tests.signal_tasks.conftest import finish, listen, send

pytestmark = pytest.mark.django_db

MODELS = ("operation", "failuregroup", "control", "auditentry")
VIEW = [f"view_{model}" for model in (*MODELS, "delivery", "attempt", "event")]
OPERATOR = [
    "replay_delivery",
    "discard_delivery",
    "cancel_operation",
    "pause_target",
    "limit_target",
    "annotate_failuregroup",
]
#: The permissions of each role; nobody is staff without any of ours.
ROLES = {"viewer": VIEW, "operator": [*VIEW, *OPERATOR], "nobody": []}
MARKUP = "<script>alert('x')</script>"


def url(model: str, page: str = "changelist", *args: object) -> str:
    return reverse(f"admin:signal_tasks_{model}_{page}", args=args)


@pytest.fixture
def rows(dead: Delivery) -> dict[str, Any]:
    """A row of each model: an open operation, a pause, a group, and their traces."""
    operations.pause("receiver:t.failing", reason="mail", by="ada")
    operations.discard(Selection(receiver="t.failing"), reason="spam", by="ada")
    return {
        "operation": Operation.objects.get(),
        "failuregroup": FailureGroup.objects.get(),
        "control": Control.objects.get(),
        "auditentry": AuditEntry.objects.order_by("pk")[0],
    }


# -- who sees ---------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 200), ("operator", 200), ("nobody", 403)]
)
def test_each_role_sees_what_it_may(
    role: str,
    status: int,
    model: str,
    staff: Callable[..., Client],
    rows: dict[str, Any],
) -> None:
    client = staff(*ROLES[role])
    assert client.get(url(model)).status_code == status
    page = url(model, "change", rows[model].pk)
    assert client.get(page).status_code == status
    assert client.get(url(model, "add")).status_code == 403
    assert client.get(url(model, "delete", rows[model].pk)).status_code == 403


@pytest.mark.parametrize("model", MODELS)
def test_nobody_edits_what_is_no_note(
    model: str, admin_client: Client, rows: dict[str, Any]
) -> None:
    page = url(model, "change", rows[model].pk)
    before = type(rows[model]).objects.filter(pk=rows[model].pk).values().get()
    admin_client.post(page, {name: "changed" for name in before if name != "note"})
    after = type(rows[model]).objects.filter(pk=rows[model].pk).values().get()
    assert after == {**before, **({"note": ""} if "note" in before else {})}


@pytest.mark.parametrize(
    ("model", "verb"),
    [
        ("operation", "cancel"),
        ("operation", "resume"),
        ("failuregroup", "replay"),
        ("failuregroup", "discard"),
        ("control", "resume"),
        ("control", "clear"),
    ],
)
def test_a_viewer_is_offered_no_action_and_does_none(
    model: str, verb: str, staff: Callable[..., Client], rows: dict[str, Any]
) -> None:
    client = staff(*VIEW)
    assert 'name="action"' not in text(client.get(url(model)))
    number = AuditEntry.objects.count()
    act(client, url(model), verb, rows[model].pk)
    assert AuditEntry.objects.count() == number
    assert Delivery.objects.get().state == "dead"
    assert Control.objects.exists()


# -- what an operator does --------------------------------------------------------


def test_an_operator_cancels_an_operation(
    staff: Callable[..., Client], rows: dict[str, Any]
) -> None:
    answer = act(
        staff(*ROLES["operator"]), url("operation"), "cancel", rows["operation"].pk
    )
    assert "1 operation changed." in text(answer)
    assert Operation.objects.get().state == "cancelled"
    assert AuditEntry.objects.get(verb="cancel").by == "staff"
    assert LogEntry.objects.get().get_change_message() == "cancel in a list"


def test_an_operator_resumes_what_has_stopped(
    staff: Callable[..., Client], rows: dict[str, Any]
) -> None:
    operation = rows["operation"]
    client = staff(*ROLES["operator"])
    answer = act(client, url("operation"), "resume", operation.pk)
    assert "is not stopped" in text(answer)
    operation.finish("stopped", "too many have failed")
    operation.save()
    act(client, url("operation"), "resume", operation.pk)
    assert Operation.objects.get().state == "running"


def test_an_operator_resumes_what_is_paused(
    staff: Callable[..., Client], rows: dict[str, Any]
) -> None:
    client = staff(*ROLES["operator"])
    answer = act(client, url("control"), "resume", rows["control"].pk)
    assert "1 control was ended." in text(answer)
    assert not Control.objects.exists()
    assert AuditEntry.objects.get(verb="resume").by == "staff"


def test_an_operator_clears_limits_and_leaves_pauses(
    staff: Callable[..., Client], rows: dict[str, Any]
) -> None:
    operations.limit("receiver:t.failing", rate="10/m", max_concurrency=2, by="ada")
    client = staff(*ROLES["operator"])
    assert "Limit, rate 10/m, 2 at a time" in text(client.get(url("control")))
    every = Control.objects.values_list("pk", flat=True)
    act(client, url("control"), "clear", *every)
    assert Control.objects.get().kind == "pause"
    assert AuditEntry.objects.get(verb="clear").by == "staff"


def test_the_dead_letters_of_a_group_are_replayed_and_no_others(
    staff: Callable[..., Client], failing: AsyncSignal, dead: Delivery
) -> None:
    group = FailureGroup.objects.get()
    send(failing)
    run_pending()
    Attempt.objects.exclude(delivery=dead).update(fingerprint="another")
    client = staff(*ROLES["operator"])
    asked = ask(client, url("failuregroup"), "replay", group.pk)
    assert "<strong>1 delivery</strong>" in text(asked)
    assert f"in the failure group {group.pk}" in text(asked)
    confirm(client, url("failuregroup"), asked)
    dead.refresh_from_db()
    assert dead.state == "pending"
    assert Delivery.objects.exclude(pk=dead.pk).get().state == "dead"


def test_an_operator_writes_a_note(
    staff: Callable[..., Client], dead: Delivery
) -> None:
    group = FailureGroup.objects.get()
    client = staff(*ROLES["operator"])
    client.post(url("failuregroup", "change", group.pk), {"note": "mail server down"})
    assert FailureGroup.objects.get().note == "mail server down"
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.by) == ("annotate", "staff")


def test_a_viewer_writes_no_note(staff: Callable[..., Client], dead: Delivery) -> None:
    group = FailureGroup.objects.get()
    client = staff(*VIEW)
    page = url("failuregroup", "change", group.pk)
    assert client.post(page, {"note": "x"}).status_code == 403
    assert FailureGroup.objects.get().note == ""


@pytest.mark.parametrize("may", [True, False])
def test_what_errors_say_is_for_those_who_may_view_attempts(
    may: bool, staff: Callable[..., Client], dead: Delivery
) -> None:
    client = staff("view_failuregroup", "view_delivery", *["view_attempt"] * may)
    group = FailureGroup.objects.get()
    pages = [
        url("failuregroup"),
        url("failuregroup", "change", group.pk),
        url("delivery"),
    ]
    for page in pages:
        assert ("on purpose" in text(client.get(page))) is may


# -- what the pages show ----------------------------------------------------------


def test_a_group_links_to_its_dead_letters(
    admin_client: Client, failing: AsyncSignal, dead: Delivery
) -> None:
    group = FailureGroup.objects.get()
    page = text(admin_client.get(url("failuregroup", "change", group.pk)))
    link = f"{url('delivery')}?group={group.pk}"
    assert f'<a href="{link}">1 delivery</a>' in page
    send(failing)
    shown = text(admin_client.get(link))
    assert shown.count('name="_selected_action"') == 1
    assert str(dead.pk) in shown


def test_an_operation_is_shown_in_words_with_a_link_to_who_did_what(
    admin_client: Client, rows: dict[str, Any]
) -> None:
    page = text(admin_client.get(url("operation", "change", rows["operation"].pk)))
    assert "deliveries to the receiver t.failing" in page
    link = f"{url('auditentry')}?q={rows['operation'].pk}"
    assert link in page
    assert "spam" in text(admin_client.get(link))


def test_a_damaged_selection_is_shown_as_it_is(
    admin_client: Client, rows: dict[str, Any]
) -> None:
    Operation.objects.update(stored_selection="{damaged")
    assert "{damaged" in text(admin_client.get(url("operation")))


def test_the_last_error_of_each_delivery_is_listed_in_one_statement(
    admin_client: Client, failing: AsyncSignal, dead: Delivery
) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            page = text(admin_client.get(url("delivery")))
        assert "ValueError: on purpose" in page
        return len(queries)

    one = statements()
    failing.send_many(sender=None, items=[{}] * 20)
    run_pending()
    assert statements() == one


def test_what_waits_says_what_holds_it_back(
    admin_client: Client, signal: AsyncSignal
) -> None:
    def fail(sender: object, **kwargs: Any) -> None:
        raise ValueError("on purpose")

    once = RetryPolicy(max_attempts=1)
    signal.connect(fail, name="t.held_in_line", weak=False, ordered=True, retry=once)
    for _ in range(2):
        signal.using(key="order 5").send(sender=None)
    run_pending()
    first, second = Delivery.objects.order_by("pk")
    HeldDelivery.objects.create(pk=second.pk, receiver="t.held_in_line", why="paused")
    page = text(admin_client.get(url("delivery", "change", second.pk)))
    link = url("delivery", "change", first.pk)
    behind = f'key order 5, <a href="{link}">waits behind a delivery that is dead</a>'
    assert behind in page
    assert "<div>Paused</div>" in page
    head = text(admin_client.get(link))
    assert "nothing; it holds back the others of the key order 5" in head


def test_what_is_first_in_line_and_held_is_not_held_back_by_nothing(
    admin_client: Client, signal: AsyncSignal
) -> None:
    listen(signal, name="t.first_in_line", ordered=True)
    signal.using(key="order 5").send(sender=None)
    first = Delivery.objects.get()
    address = url("delivery", "change", first.pk)
    words = "it is the next one of the key order 5"
    assert f"<div>nothing; {words}</div>" in text(admin_client.get(address))
    HeldDelivery.objects.create(pk=first.pk, receiver="t.first_in_line", why="paused")
    page = text(admin_client.get(address))
    assert f"<div>{words}</div><div>Paused</div>" in page


def test_runs_are_told_apart(admin_client: Client, dead: Delivery) -> None:
    operations.replay(Selection(ids=[dead.pk])).work_off()
    run_pending()
    page = text(admin_client.get(url("delivery", "change", dead.pk)))
    assert "Run 1, attempt 1, dead, " in page
    assert "Run 2, attempt 1, dead, " in page
    assert "Dead, Exhausted, 1 attempt, run 2" in text(
        admin_client.get(url("delivery"))
    )


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("?receiver=t.failing", 1),
        ("?receiver=t.other", 1),
        ("?receiver=no.such", 0),
        ("?q=orders.order:5", 1),
        ("?q=orders.order:6", 0),
    ],
)
def test_deliveries_are_found_by_receiver_and_subject(
    query: str,
    number: int,
    admin_client: Client,
    signal: AsyncSignal,
    dead: Delivery,
) -> None:
    listen(signal, name="t.other")
    signal.send(sender=None)
    Delivery.objects.filter(event=dead.event).exclude(pk=dead.pk).delete()
    Delivery.objects.exclude(pk=dead.pk).exclude(receiver="t.other").delete()
    type(dead.event).objects.filter(pk=dead.event_id).update(subject="orders.order:5")
    page = text(admin_client.get(url("delivery") + query))
    assert page.count('name="_selected_action"') == number


@pytest.mark.parametrize("model", [*MODELS, "delivery"])
@pytest.mark.parametrize("what", ["?q=%00", "?receiver=%00", "?group=%00", "?verb=%00"])
def test_nothing_that_is_asked_is_a_fault(
    what: str, model: str, admin_client: Client, rows: dict[str, Any]
) -> None:
    assert admin_client.get(url(model) + what, follow=True).status_code in (200, 400)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("pk", ["", "\0", "x" * 300, "9" * 30])
def test_an_action_on_what_is_no_row_does_nothing(
    pk: str, model: str, admin_client: Client, rows: dict[str, Any]
) -> None:
    verb = {"failuregroup": "replay", "operation": "cancel"}.get(model, "resume")
    answer = admin_client.post(url(model), {"action": verb, "_selected_action": [pk]})
    assert answer.status_code in (302, 400)
    assert Control.objects.exists()
    assert Operation.objects.get().state == "pending"


def test_markup_is_shown_as_text_on_every_page(
    admin_client: Client, rows: dict[str, Any]
) -> None:
    Operation.objects.update(reason=MARKUP, by=MARKUP, note=MARKUP)
    FailureGroup.objects.update(sample=MARKUP, error_type=MARKUP, note=MARKUP)
    Control.objects.update(reason=MARKUP, by=MARKUP)
    AuditEntry.objects.update(target=MARKUP, reason=MARKUP, command=MARKUP)
    Attempt.objects.update(error=MARKUP)
    pages = [url(model) for model in (*MODELS, "delivery")]
    pages += [url(model, "change", rows[model].pk) for model in MODELS]
    for page in pages:
        assert "<script>alert" not in text(admin_client.get(page))


def test_a_list_takes_as_many_statements_for_many_rows_as_for_one(
    admin_client: Client, rows: dict[str, Any], failing: AsyncSignal
) -> None:
    def statements(model: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(url(model)).status_code == 200
        return len(queries)

    one = [statements(model) for model in MODELS]
    for number in range(20):
        send(failing)
        operations.pause(f"queue:{number}", by="ada")
        operations.replay(Selection(error=str(number)), by="ada")
        FailureGroup.objects.create(fingerprint=str(number), receiver="t.failing")
    finish(Delivery.objects, "dead")
    assert [statements(model) for model in MODELS] == one
