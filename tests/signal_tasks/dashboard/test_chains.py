"""Effects of an event, and all that came of one: found by an index, up to a cap."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from signal_tasks import AsyncSignal
from signal_tasks.db.clock import id_at
from signal_tasks.models import Event
from signal_tasks.reports import events as reports
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen, send
from tests.signal_tasks.dashboard.conftest import text

pytestmark = pytest.mark.django_db

HEADERS = {"correlation_id": "import-7"}


def correlated(correlation: object) -> list[uuid.UUID]:
    wanted = reports.EventFilter.from_query({"correlation": str(correlation)})
    return [line.id for line in reports.events("default", wanted).lines]


@pytest.fixture
def caused(signal: AsyncSignal) -> AsyncSignal:
    """A signal that the receiver of ``signal`` sends, with a receiver of its own."""
    made = AsyncSignal(name="t.caused")
    listen(made)

    def cause(sender: object, **kwargs: Any) -> None:
        made.send(sender=None)

    signal.connect(cause, name="t.causing", weak=False)
    return made


def test_an_effect_is_found_however_late_it_came(
    pages: Client, signal: AsyncSignal, caused: AsyncSignal
) -> None:
    first = send(signal).event_id
    late = Event.objects.create(
        id=id_at(timezone.now() + timedelta(days=30)),
        signal="t.late",
        payload="{}",
        cause_id=first,
    )
    run_pending()
    report = reports.event("default", first)
    assert report is not None
    assert [each.signal for each in report.effects] == ["t.caused", "t.late"]
    assert not report.effects_are_cut
    assert f"/signals/events/{late.pk}/" in text(pages.get(f"/signals/events/{first}/"))


def test_of_many_effects_the_first_are_shown(
    pages: Client, signal: AsyncSignal
) -> None:
    listen(signal)
    first = send(signal).event_id
    for _ in range(60):
        Event.objects.create(signal="t.many", payload="{}", cause_id=first)
    seen = text(pages.get(f"/signals/events/{first}/"))
    assert seen.count("t.<wbr>many") == 50
    assert "It has more effects; the first 50 are shown." in seen


def test_all_that_came_of_an_event_is_found_by_its_id(
    pages: Client, signal: AsyncSignal, caused: AsyncSignal
) -> None:
    first = send(signal).event_id
    send(signal)
    run_pending()
    effect = Event.objects.get(cause_id=first)
    assert correlated(first) == [effect.pk, first]
    page = text(pages.get(f"/signals/events/{effect.pk}/"))
    assert f"/signals/events/?correlation={first}" in page


@pytest.mark.parametrize("given", ["import-7", 12, "x" * 5000, "a\0b", "\ud800", "ü"])
def test_all_that_came_of_a_send_is_found_by_its_header(
    given: Any, signal: AsyncSignal, caused: AsyncSignal
) -> None:
    headers = {"correlation_id": given}
    ((_, first),) = signal.using(headers=headers).send(sender=None)
    send(signal)
    run_pending()
    stored = Event.objects.get(pk=first.event_id).correlation
    effect = Event.objects.get(cause_id=first.event_id)
    assert correlated(stored) == [effect.pk, first.event_id]


@pytest.mark.parametrize(
    "sent",
    [
        lambda signal: signal.using(headers=HEADERS).send(sender=None),
        lambda signal: signal.using(headers=HEADERS).send_many(None, [{}, {}]),
        lambda signal: signal.using(headers=HEADERS, dedupe_key="k").send(sender=None),
    ],
)
def test_each_way_of_sending_stores_it(
    sent: Callable[[AsyncSignal], Any], signal: AsyncSignal
) -> None:
    listen(signal)
    sent(signal)
    assert set(Event.objects.values_list("correlation", flat=True)) == {"import-7"}


def test_a_plain_send_writes_no_correlation_id(signal: AsyncSignal) -> None:
    listen(signal)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        signal.send(sender=None)
    assert not any("correlation" in each["sql"] for each in queries)
    assert Event.objects.get().correlation is None


@pytest.mark.parametrize("index", ["cause", "correlation"])
def test_no_table_is_read_for_it(signal: AsyncSignal, index: str) -> None:
    listen(signal)
    first = send(signal).event_id
    with CaptureQueriesContext(connection) as queries:
        reports.event("default", first)
        correlated("import-7")
    column = {"cause": "cause_id", "correlation": "correlation"}[index]
    (sql,) = [each["sql"] for each in queries if f'{column}" =' in quoted(each)]
    assert f"signal_tasks_{index}" in plan(sql)


def quoted(query: Any) -> str:
    return str(query["sql"]).replace("`", '"')


def plan(sql: str) -> str:
    """Return how the database would run the statement, were the tables large."""
    how = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{how} {sql}".replace("%", "%%"))
        return str(cursor.fetchall())
