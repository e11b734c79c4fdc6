"""The inserts of a send: how many statements, and any text in them."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db

real_commits = pytest.mark.django_db(transaction=True)


def statements(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"].split()[0] for query in queries.captured_queries]


#: PostgreSQL is given the two inserts as one statement.
INSERTS = ["WITH"] if connection.vendor == "postgresql" else ["INSERT", "INSERT"]


@real_commits
@pytest.mark.parametrize("receivers", [1, 10])
def test_a_send_adds_two_inserts_to_a_transaction(
    receivers: int, signal: AsyncSignal
) -> None:
    for _ in range(receivers):
        listen(signal)
    with transaction.atomic():
        thing = Thing.objects.create(name="x")
        with CaptureQueriesContext(connection) as queries:
            signal.send(sender=thing, thing=thing)
    assert statements(queries) == INSERTS


@real_commits
def test_a_send_of_its_own_is_one_transaction_of_two_inserts(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    with CaptureQueriesContext(connection) as queries:
        signal.send(sender=None)
    assert statements(queries) == ["BEGIN", *INSERTS, "COMMIT"]


@real_commits
@pytest.mark.parametrize("events", [1, 7])
def test_names_and_payloads_may_hold_what_means_something_in_sql(events: int) -> None:
    strange = """100 %s %% o'clock "now" \\' {now}"""
    signal = AsyncSignal(name=f"{strange} signal {events}")
    calls = listen(signal, name=f"{strange} receiver {events}")
    signal.send_many(sender=None, items=[{"said": strange}] * events)
    run_pending()
    assert [call["said"] for call in calls] == [strange] * events
    sent = Event.objects.filter(signal=signal.name)
    assert sent.filter(deliveries__state="succeeded").count() == events


# -- many at once -----------------------------------------------------------------


def statements_of(signal: AsyncSignal, events: int) -> int:
    with CaptureQueriesContext(connection) as queries:
        signal.send_many(sender=None, items=({"n": n} for n in range(events)))
    return len(queries)


def test_many_events_take_a_constant_number_of_statements_per_thousand(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    listen(signal)
    thousand = statements_of(signal, 1000)
    assert thousand <= 50
    assert statements_of(signal, 3000) <= 3 * thousand
    assert Delivery.objects.count() == 8000


@pytest.mark.django_db(transaction=False)  # BEGIN and COMMIT would be counted too
@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs more of them")
def test_many_events_are_one_statement_of_postgresql_per_thousand(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    listen(signal)
    assert statements_of(signal, 1000) == 1
    assert statements_of(signal, 3000) == 3


def test_many_events_say_what_they_were_told_whatever_it_is(
    signal: AsyncSignal,
) -> None:
    calls = listen(signal, name='t.odd "name", \\ {NULL}')
    texts = ['"', "\\", '\\"', "{}", "NULL", "", ",", "\0", "\ud800", "'", "%s", "ä\n"]
    signal.send_many(sender="\\\"'", items=[{"text": text} for text in texts])
    run_pending()
    assert [call["text"] for call in calls] == texts
