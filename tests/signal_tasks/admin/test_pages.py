"""The admin: read-only but for two actions, with permissions and limits."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from signal_tasks import AsyncSignal
from signal_tasks.admin import window
from signal_tasks.models import Attempt, Delivery, Event, Worker
from signal_tasks.reports import bounds
from signal_tasks.testing import run_pending
from tests.signal_tasks.admin.conftest import act, text
from tests.signal_tasks.conftest import finish, listen, send

pytestmark = pytest.mark.django_db

MODELS = ("event", "delivery", "worker")
LISTS = [reverse(f"admin:signal_tasks_{model}_changelist") for model in MODELS]
DELIVERIES = reverse("admin:signal_tasks_delivery_changelist")
VIEW = ["view_event", "view_delivery", "view_worker"]


def page(model: str, pk: object, verb: str = "change") -> str:
    return reverse(f"admin:signal_tasks_{model}_{verb}", args=[pk])


# -- who may see ------------------------------------------------------------------


@pytest.mark.parametrize("url", LISTS)
def test_nobody_sees_anything_without_logging_in(url: str, client: Client) -> None:
    assert client.get(url).status_code == 302


@pytest.mark.parametrize("url", LISTS)
def test_staff_without_the_permission_sees_nothing(
    url: str, staff: Callable[..., Client]
) -> None:
    assert staff().get(url).status_code == 403


@pytest.mark.parametrize("url", LISTS)
def test_staff_with_the_permission_sees_the_lists(
    url: str, staff: Callable[..., Client], dead: Delivery
) -> None:
    Worker.objects.create(name="celery@here")
    response = staff(*VIEW).get(url)
    assert response.status_code == 200
    assert "0 results" not in text(response)


def test_an_event_is_shown_with_what_was_sent(
    admin_client: Client, dead: Delivery
) -> None:
    shown = text(admin_client.get(page("event", dead.event_id)))
    assert "number" in shown
    assert "trace" in shown
    assert dead.event.signal in shown


def test_a_delivery_is_shown_with_its_failures(
    admin_client: Client, dead: Delivery
) -> None:
    shown = text(admin_client.get(page("delivery", dead.pk)))
    assert "ValueError: on purpose" in shown
    assert "Traceback (most recent call last)" in shown


# -- who may change ---------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_nobody_adds_changes_or_deletes(
    model: str, admin_client: Client, dead: Delivery
) -> None:
    worker = Worker.objects.create(name="celery@here")
    pks = {"event": dead.event_id, "delivery": dead.pk, "worker": worker.pk}
    add = reverse(f"admin:signal_tasks_{model}_add")
    assert admin_client.post(add, {"name": "x"}).status_code == 403
    url = page(model, pks[model])
    assert admin_client.post(url, {"name": "changed"}).status_code == 403
    delete = page(model, pks[model], "delete")
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert "delete_selected" not in text(admin_client.get(LISTS[0]))
    worker.refresh_from_db()
    assert worker.name == "celery@here"


def test_staff_that_may_only_look_is_offered_no_action(
    staff: Callable[..., Client], dead: Delivery
) -> None:
    client = staff(*VIEW)
    assert 'name="action"' not in text(client.get(DELIVERIES))
    for verb in ("replay", "discard", "delete_selected"):
        act(client, DELIVERIES, verb, dead.pk)
    dead.refresh_from_db()
    assert dead.state == "dead"


@pytest.mark.parametrize(
    ("permission", "verb", "state"),
    [
        ("replay_delivery", "replay", "pending"),
        ("discard_delivery", "discard", "discarded"),
    ],
)
def test_each_action_takes_its_own_permission(
    permission: str,
    verb: str,
    state: str,
    staff: Callable[..., Client],
    dead: Delivery,
) -> None:
    client = staff(*VIEW, permission)
    offered = re.findall(r'<option value="(\w+)"', text(client.get(DELIVERIES)))
    assert offered == [verb]
    other = {"replay": "discard", "discard": "replay"}[verb]
    act(client, DELIVERIES, other, dead.pk)
    dead.refresh_from_db()
    assert dead.state == "dead"
    assert "1 delivery changed." in text(act(client, DELIVERIES, verb, dead.pk))
    dead.refresh_from_db()
    assert dead.state == state


def test_an_action_changes_only_what_it_can(
    admin_client: Client, signal: AsyncSignal
) -> None:
    listen(signal)
    signal.send(sender=None)
    run_pending()
    done = Delivery.objects.get()
    for verb in ("replay", "discard"):
        assert f"Nothing to {verb}" in text(
            act(admin_client, DELIVERIES, verb, done.pk)
        )
    done.refresh_from_db()
    assert done.state == "succeeded"


def test_an_action_says_how_many_it_changed(
    admin_client: Client, signal: AsyncSignal
) -> None:
    listen(signal)
    signal.send_many(sender=None, items=[{}] * 3)
    pks = Delivery.objects.values_list("pk", flat=True)
    assert "3 deliveries changed." in text(
        act(admin_client, DELIVERIES, "discard", *pks)
    )


# -- searching and filtering ------------------------------------------------------


def found(client: Client, url: str, query: str) -> int:
    shown = text(client.get(url, {"q": query}))
    return shown.count('<input type="checkbox" name="_selected_action"')


@pytest.mark.parametrize(
    "what", ["nonsense", "7", "' OR 1=1 --", "\0", "x" * 500, "a b c", "{}"]
)
@pytest.mark.parametrize("url", LISTS)
def test_a_search_for_anything_is_answered(
    url: str, what: str, admin_client: Client, dead: Delivery
) -> None:
    assert admin_client.get(url, {"q": what}).status_code == 200


def test_a_delivery_is_found_by_ids_and_receiver(
    admin_client: Client, dead: Delivery
) -> None:
    assert found(admin_client, DELIVERIES, str(dead.pk)) == 1
    assert found(admin_client, DELIVERIES, str(dead.event_id)) == 1
    assert found(admin_client, DELIVERIES, "t.failing") == 1
    assert found(admin_client, DELIVERIES, str(uuid.uuid4())) == 0


@pytest.mark.parametrize(
    "query", ["state__exact=dead", "reason__exact=exhausted", "orphaned__exact=0"]
)
def test_deliveries_are_filtered(
    query: str, admin_client: Client, dead: Delivery
) -> None:
    assert str(dead.pk) in text(admin_client.get(f"{DELIVERIES}?{query}"))


@pytest.mark.parametrize(
    "query",
    [
        "receiver__regex=(a%2B)%2B$",
        "event__payload__contains=x",
        "failures__traceback__contains=x",
        "state__exact=%00",
        "id__in=nonsense",
        "nonsense=1",
    ],
)
def test_a_filter_that_is_not_offered_is_refused(
    query: str, admin_client: Client, dead: Delivery
) -> None:
    assert admin_client.get(f"{DELIVERIES}?{query}").status_code == 400


def test_events_are_not_searched_by_what_is_in_them(
    admin_client: Client, dead: Delivery
) -> None:
    assert admin_client.get(f"{LISTS[0]}?payload__contains=7").status_code == 400


@pytest.mark.parametrize("pk", ["nonsense", "\0", ""])
def test_an_action_on_what_is_no_id_is_refused(
    pk: str, admin_client: Client, dead: Delivery
) -> None:
    data = {"action": "replay", "_selected_action": [pk]}
    assert admin_client.post(DELIVERIES, data).status_code == 400


@pytest.mark.parametrize("pk", ["nonsense", uuid.uuid4()])
def test_a_page_of_nothing_is_not_an_error(pk: object, admin_client: Client) -> None:
    assert admin_client.get(page("delivery", pk)).status_code == 302


# -- hostile content --------------------------------------------------------------

MARKUP = "<script>alert('x')</script>"


def test_markup_is_shown_as_text_wherever_it_comes_from(
    admin_client: Client, signal: AsyncSignal
) -> None:
    def fail(sender: object, **kwargs: Any) -> None:
        raise ValueError(MARKUP)

    signal.connect(fail, name=f"t.{MARKUP}", weak=False)
    signal.using(headers={"h": MARKUP}).send(sender=MARKUP, value=MARKUP)
    run_pending()
    Attempt.objects.update(error_type=MARKUP, worker=MARKUP)
    Event.objects.update(signal=MARKUP)
    delivery = Delivery.objects.get()
    pages = [*LISTS, page("delivery", delivery.pk), page("event", delivery.event_id)]
    for url in pages:
        assert "<script>alert" not in text(admin_client.get(url))


@pytest.mark.parametrize("payload", ["\x1b[31m\x07\u202e", "\ud800", "{", "null", ""])
def test_a_strange_payload_is_shown(
    payload: str, admin_client: Client, dead: Delivery
) -> None:
    stored = payload.encode(errors="backslashreplace").decode()
    Event.objects.update(payload=stored, headers=stored)
    assert admin_client.get(page("event", dead.event_id)).status_code == 200


@pytest.mark.parametrize(
    "stored",
    ["[" * 15_000, "[" * 8_000 + "]" * 8_000, "9" * 5_000, '{"a":' * 900 + "1"],
    ids=["deep, without an end", "deep", "a number of 5,000 digits", "damaged"],
)
def test_what_cannot_be_laid_out_is_shown_as_it_is(
    stored: str, admin_client: Client, dead: Delivery
) -> None:
    Event.objects.update(payload=stored, headers=stored)
    response = admin_client.get(page("event", dead.event_id))
    assert response.status_code == 200
    assert text(response).count(escape(stored)) == 2


def test_the_deepest_value_that_can_be_sent_is_shown(
    admin_client: Client, signal: AsyncSignal
) -> None:
    listen(signal)
    value: object = "the innermost"
    for _ in range(98):
        value = {"$": value}
    signal.send(sender=None, value=value)
    response = admin_client.get(page("event", Event.objects.get().pk))
    assert "the innermost" in text(response)


def test_a_huge_payload_is_cut(admin_client: Client, signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None, value="x" * 200_000)
    shown = text(admin_client.get(page("event", Event.objects.get().pk)))
    assert len(shown) < 50_000
    assert " ...</pre>" in shown


def test_many_failures_and_long_tracebacks_are_cut(
    admin_client: Client, dead: Delivery
) -> None:
    Attempt.objects.bulk_create(
        Attempt(
            delivery=dead,
            number=number,
            consequence="retried",
            error_type="E",
            error="e" * 2000,
            traceback="t" * 5000,
        )
        for number in range(200)
    )
    shown = text(admin_client.get(page("delivery", dead.pk)))
    assert shown.count("<details><summary>Run 1, attempt") == window.MAX_CHILDREN


# -- bounds -----------------------------------------------------------------------


def statements(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in queries.captured_queries]


def test_a_list_takes_as_many_statements_for_many_rows_as_for_one(
    admin_client: Client, signal: AsyncSignal
) -> None:
    listen(signal)
    signal.send(sender=None)
    one = [len(statements(admin_client, url)) for url in LISTS]
    signal.send_many(sender=None, items=[{}] * 120)
    assert [len(statements(admin_client, url)) for url in LISTS] == one


def test_no_page_counts_a_whole_table(
    admin_client: Client, dead: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [*LISTS, f"{DELIVERIES}?state__exact=dead", f"{DELIVERIES}?q=t.failing"]
    asked = [sql for url in urls for sql in statements(admin_client, url)]
    counts = [sql for sql in asked if "COUNT(" in sql and "signal_tasks" in sql]
    assert counts
    assert all(f"LIMIT {window.MAX_COUNTED}" in sql for sql in counts)


def test_a_long_list_ends_where_counting_ends(
    admin_client: Client, signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "MAX_COUNTED", 60)
    listen(signal)
    signal.send_many(sender=None, items=[{}] * 120)
    assert "60 deliveries" in text(admin_client.get(DELIVERIES))


def test_what_no_index_finds_is_looked_for_among_the_latest_rows(
    admin_client: Client, signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(signal, name="t.old")
    signal.send(sender=None)
    run_pending()
    old = Delivery.objects.get().pk
    link = page("delivery", old)
    other = AsyncSignal(name=f"{signal.name}.other")
    listen(other, name="t.new")
    other.send_many(sender=None, items=[{}] * 3)
    assert link in text(admin_client.get(DELIVERIES, {"receiver": "t.old"}))
    monkeypatch.setattr(bounds, "MAX_SEARCHED", 2)
    seen = text(admin_client.get(DELIVERIES, {"receiver": "t.old"}))
    assert link not in seen
    assert "Only the latest 2 rows were looked at" in seen
    assert link in text(admin_client.get(DELIVERIES, {"q": str(old)}))


@pytest.mark.parametrize("state", ["pending", "dead"])
def test_what_is_live_or_dead_is_found_however_old_it_is(
    admin_client: Client,
    signal: AsyncSignal,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    listen(signal, name="t.old")
    pk = send(signal).id
    if state == "dead":
        finish(Delivery.objects.filter(pk=pk), state)
    other = AsyncSignal(name=f"{signal.name}.other")
    listen(other, name="t.new")
    other.send_many(sender=None, items=[{}] * 3)
    finish(Delivery.objects.filter(receiver="t.new"), "succeeded")
    monkeypatch.setattr(bounds, "MAX_SEARCHED", 2)
    seen = text(admin_client.get(DELIVERIES, {"state__exact": state}))
    assert page("delivery", pk) in seen


def test_how_often_an_attempt_was_deferred_is_shown(
    admin_client: Client, dead: Delivery
) -> None:
    dead.failures.create(number=1, consequence="deferred", times=7)
    assert "deferred 7 times" in text(admin_client.get(page("delivery", dead.pk)))
