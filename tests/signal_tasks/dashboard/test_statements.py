"""The statements of each page: how many, whatever the tables hold, and by which index."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from signal_tasks import AsyncSignal, counting, health, operations
from signal_tasks.dashboard.urls import urlpatterns
from signal_tasks.healthcheck.problems import problems
from signal_tasks.models import Delivery, FailureGroup, Operation, Worker
from signal_tasks.operations import Selection
from signal_tasks.reports import bounds
from signal_tasks.telemetry import gauges
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.dashboard.conftest import OPERATOR, die, statements_of

pytestmark = pytest.mark.django_db

#: Each page by the name of its URL pattern: an address below the dashboard's own, and its
#: statements besides its session, user and permissions. A new page has to be added.
PAGES = {
    "overview": ("", 14),
    "events": ("events/", 2),
    "event": ("events/{event}/", 4),
    "delivery": ("deliveries/{delivery}/", 8),
    "skip": ("deliveries/{delivery}/skip/", 1),
    "blocked": ("blocked/", 2),
    "groups": ("dead/", 3),
    "group": ("dead/{group}/", 4),
    "operations": ("operations/", 1),
    "operation": ("operations/{operation}/", 1),
    "new_operation": ("operations/new/?verb=replay&group={group}", 2),
    "receivers": ("receivers/", 1),
    "receiver": ("receivers/t.failing/", 13),
    "workers": ("workers/", 2),
    "log": ("log/", 1),
}
#: Patterns that forms are sent to.
POSTED = {"acknowledge", "note", "cancel", "resume", "control"}


def test_the_statements_of_every_page_are_pinned() -> None:
    assert {pattern.name for pattern in urlpatterns} == {*PAGES} | POSTED


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_same_statements_for_much_and_for_little(
    name: str, may: Callable[..., Client], failing: AsyncSignal
) -> None:
    page, number = PAGES[name]
    client = may(*OPERATOR)
    fill(failing, 2)
    few = statements_of(client, address(page))
    fill(failing, 15)
    many = statements_of(client, address(page))
    assert len(many) == len(few), "\n".join(many)
    assert len(many) == number, "\n".join(many)


def fill(failing: AsyncSignal, number: int) -> None:
    """Make so many rows of each kind."""
    die(failing, number)
    for each in range(number):
        operations.pause(f"receiver:t{each}", by="ada")
        Worker.objects.create(name="celery@host")
    every = Selection(receiver="t.failing", state="dead")
    operations.replay(every, by="ada", canary=False).work_off()
    run_pending()
    operations.replay(Selection(receiver="t.failing"), by="ada")
    failing.using(delay=3600).send(sender=None)


def address(page: str) -> str:
    some = Delivery.objects.order_by("pk")[0]
    return "/signals/" + page.format(
        event=some.event_id,
        delivery=some.pk,
        group=FailureGroup.objects.order_by("pk")[0].pk,
        operation=Operation.objects.order_by("pk")[0].pk,
    )


# -- what they read -----------------------------------------------------------------

#: Deliveries, one in a hundred of them pending, three dead, of ten groups.
FILL = """
CREATE TEMP TABLE made ON COMMIT DROP AS
SELECT n, sent_at, CASE WHEN n > 19800 THEN 'pending' WHEN n % 33 = 0 THEN 'dead'
        ELSE 'succeeded' END AS state,
    't.of_' || n % 20 AS receiver,
    (prefix || '8' || substr(md5('event' || n), 1, 15))::uuid AS event_id,
    (prefix || '8' || substr(md5('delivery' || n), 1, 15))::uuid AS id
FROM (
    SELECT n, sent_at,
        lpad(to_hex((extract(epoch FROM sent_at) * 1000)::bigint), 12, '0') || '7000'
            AS prefix
    FROM (
        SELECT n, now() - (20000 - n) * interval '10 seconds' AS sent_at
        FROM generate_series(1, 20000) AS n
    ) AS timed
) AS named;
INSERT INTO signal_tasks_event (id, signal, payload, headers, subject, sent_at)
SELECT event_id, 'tests.of_' || n % 20, '{}', '', 'tests.thing:' || n / 5, sent_at
FROM made;
INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, run, attempts,
    lease, available_at, next_check_at, publish_count, isolated, orphaned, finished_at)
SELECT id, event_id, receiver, state, '', 1, 1, 1, sent_at,
    CASE state WHEN 'pending' THEN now() + n * interval '1 second' END, 0, false, false,
    CASE state WHEN 'pending' THEN NULL ELSE sent_at END
FROM made;
INSERT INTO signal_tasks_attempt (delivery_id, run, number, consequence, times,
    error_type, error, traceback, worker, seconds, failed_at, fingerprint)
SELECT id, 1, 1, CASE state WHEN 'dead' THEN 'dead' ELSE 'retried' END, 1, 'ValueError',
    'on purpose', repeat('line ', 200), '', 0.1, sent_at, lpad((n % 10)::text, 16, '0')
FROM made WHERE state = 'dead' OR n % 3 = 0;
INSERT INTO signal_tasks_failuregroup (fingerprint, receiver, error_type, location,
    sample, failures, first_seen_at, last_seen_at, note)
SELECT fingerprint, 't.of_' || min(number), 'ValueError', '', '', count(*), now(), now(),
    ''
FROM signal_tasks_attempt GROUP BY fingerprint;
ANALYZE;
SET LOCAL random_page_cost = 1.1;
"""
#: Addresses, with filters that match much, little, and nothing.
ASKED = (
    *(page for page, _ in PAGES.values()),
    "events/?signal=tests.of_3",
    "events/?signal=no.such",
    "events/?subject=tests.thing:3",
    "events/?since=2020-01-01T00:00&until=2030-01-01T00:00&signal=tests.of_3",
    "dead/?receiver=t.of_3",
    "dead/?receiver=of_",
    "blocked/?receiver=of_",
    "dead/?every=1",
    "receivers/t.of_3/",
    "receivers/no.such/",
    "operations/new/?verb=replay&receiver=t.of_3&state=dead",
    "operations/new/?verb=replay&receiver=no.such&state=dead",
    "operations/new/?verb=replay&subject=tests.thing:3",
    "operations/new/?verb=discard&receiver=t.of_3",
)
IN_THE_ADMIN = (
    "",
    "?state__exact=pending",
    "?state__exact=running",
    "?state__exact=succeeded",
    "?state__exact=dead",
    "?state__exact=dead&receiver=t.of_3",
    "?state__exact=discarded",
    "?reason__exact=lost",
    "?orphaned__exact=1",
    "?receiver=t.of_3",
    "?receiver=no.such",
    "?group=0000000000000003",
    "?q=no.such",
    "?q=tests.thing:3",
    "?o=1",
)
#: Tables that grow with what is sent.
LARGE = {"signal_tasks_delivery", "signal_tasks_event", "signal_tasks_attempt"}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it explains its plans")
def test_nothing_that_is_asked_reads_a_whole_table(
    admin_client: Client, signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MAX_COUNTED", 400)
    monkeypatch.setattr(counting, "MAX_DEAD", 400)
    monkeypatch.setattr(bounds, "MAX_COUNTED", 100)
    monkeypatch.setattr(bounds, "MAX_SEARCHED", 400)
    monkeypatch.setattr("signal_tasks.admin.window.MAX_COUNTED", 100)
    monkeypatch.setattr("signal_tasks.dashboard.views.operations.MAX_COUNTED", 100)
    monkeypatch.setattr(sys.modules[problems.__module__], "MAX_COUNTED", 100)
    listen(signal, name="t.of_3")
    with connection.cursor() as cursor:
        cursor.execute(FILL)
    operations.replay(Selection(receiver="t.of_3", state="dead"), by="ada")
    found = [
        *(("health", sql) for sql in asked(health)),
        *(("gauges", sql) for sql in asked(lambda: gauges.read("default"))),
    ]
    deliveries = reverse("admin:signal_tasks_delivery_changelist")
    events = reverse("admin:signal_tasks_event_changelist")
    for page in (
        *map(address, ASKED),
        *(f"{deliveries}{query}" for query in IN_THE_ADMIN),
        *(f"{events}{query}" for query in ("", "?q=tests.of_3", "?q=no.such", "?o=1")),
    ):
        found += [(page, sql) for sql in statements_of(admin_client, page)]
    whole = {sql: page for page, sql in found if LARGE & {*read_whole(sql)}}
    assert not whole, "\n\n".join(f"{page}: {sql}" for sql, page in whole.items())


def asked(call: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        call()
    return [query["sql"] for query in queries]


def read_whole(sql: str) -> Iterator[str]:
    """Yield the tables that a statement would read from begin to end."""
    if not sql.strip().startswith("SELECT"):
        return
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}".replace("%", "%%"), ())
        (plan,) = cursor.fetchone()
    (root,) = json.loads(plan) if isinstance(plan, str) else plan
    yield from _scanned(root["Plan"], is_limited=False)


def _scanned(node: dict[str, Any], *, is_limited: bool) -> Iterator[str]:
    is_whole = (
        "Filter" in node or not is_limited
    )  # a limit may end what filters nothing
    if node["Node Type"] == "Seq Scan" and is_whole:
        yield node["Relation Name"]
    for each in node.get("Plans", ()):
        yield from _scanned(each, is_limited=node["Node Type"] == "Limit")
