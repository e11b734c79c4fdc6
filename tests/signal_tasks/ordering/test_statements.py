"""The statements that order costs, and what they read however many wait behind a key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from signal_tasks.delivery.process import process
from signal_tasks.models import Delivery
from signal_tasks.steering.snapshot import snapshot
from signal_tasks.steering.turns import Sweep, sweep
from signal_tasks.testing import run_pending
from tests.signal_tasks.ordering.steps import LATER, ONCE, Ordered
from tests.signal_tasks.test_statements import Plans, explained, on_postgres, postgres

pytestmark = pytest.mark.django_db(transaction=True)
sqlite = connection.vendor == "sqlite"

#: Deliveries that wait behind the first one of a key.
WAITING = """
WITH given AS (
    SELECT gen_random_uuid() AS event, gen_random_uuid() AS delivery, n
    FROM generate_series(1, %s) AS n
), event AS (
    INSERT INTO signal_tasks_event (id, signal, payload, headers, sent_at)
    SELECT event, %s, '{"v": 1}', '', now() FROM given
), delivery AS (
    INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, run,
        attempts, lease, available_at, next_check_at, publish_count, isolated, orphaned)
    SELECT delivery, event, %s, 'pending', '', 1, 0, 0, now(),
        now() + interval '1 hour', 1, false, false FROM given
), sequence AS (
    UPDATE signal_tasks_sequence SET last = last + %s WHERE receiver = %s
    RETURNING id, last
)
INSERT INTO signal_tasks_turn (delivery_id, sequence_id, position)
SELECT delivery, sequence.id, 1 + n FROM given, sequence
"""


def made(call: Callable[[], object]) -> list[str]:
    """Return the first words of the statements that a call makes."""
    snapshot("default")  # which every process reads now and then
    with CaptureQueriesContext(connection) as queries:
        call()
    return [query["sql"].split()[0] for query in queries.captured_queries]


def test_a_send_under_a_key_takes_its_place_by_one_statement_more() -> None:
    ordered = Ordered()
    ordered.send(0)
    statements = made(lambda: ordered.send(1))
    place = {
        "postgresql": ["WITH"],
        "sqlite": ["INSERT", "SELECT", "INSERT"],
        "mysql": ["SELECT", "SELECT", "UPDATE", "INSERT"],
    }[connection.vendor]
    rows = ["WITH"] if postgres else ["INSERT", "INSERT"]
    assert statements == ["BEGIN", *rows, *place, "COMMIT"]


def test_many_sends_take_their_places_by_the_same_statements() -> None:
    ordered = Ordered()
    keyed = ordered.signal.using(key="k")
    counts = []
    for number in (2, 100):
        items = [{"n": n} for n in range(number)]
        counts.append(made(partial(keyed.send_many, sender=None, items=items)))
    if connection.vendor == "mysql":
        counts[0].remove("INSERT")  # the counter, which is new
        counts[0].remove("SELECT")
        counts[1].remove("SELECT")
    assert counts[0] == counts[1]


CLAIM = (
    ["WITH"]
    if postgres
    else ["BEGIN", "SELECT", "SELECT", "UPDATE", "COMMIT", "SELECT"]
)


#: On PostgreSQL the look at what comes next is sent with the finish.
FINISH = ["WITH"] if postgres else ["UPDATE", "DELETE", "SELECT"]


def test_a_batch_finishes_with_a_look_at_what_comes_next() -> None:
    ordered = Ordered()
    handles = ordered.send_all(range(8))
    statements = made(lambda: ordered.run(*handles))
    assert statements == [*CLAIM, "BEGIN", *FINISH, "COMMIT"]


def test_a_batch_that_others_wait_behind_has_the_next_one_seen_to() -> None:
    ordered = Ordered()
    first, _second = ordered.send_all(range(2))
    process.size_of(ordered.name).deliveries = 100
    statements = made(lambda: ordered.run(first))
    wake = {
        "postgresql": ["WITH"],
        "sqlite": ["SELECT", "UPDATE"],
        "mysql": ["SELECT", "UPDATE"],
    }[connection.vendor]
    batch = [*CLAIM, "BEGIN", *FINISH]
    assert statements == [*batch, *wake, "COMMIT", "SELECT", *batch, "COMMIT"]


@on_postgres
def test_a_cursor_that_takes_one_statement_at_a_time_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        connection.settings_dict["OPTIONS"], "server_side_binding", True
    )
    connection.close()
    ordered = Ordered()
    first, _second = ordered.send_all(range(2))
    statements = made(lambda: ordered.run(first))
    assert statements[:5] == [*CLAIM, "BEGIN", "WITH", "SELECT", "WITH"]
    assert ordered.states() == ["succeeded", "succeeded"]
    connection.close()


@on_postgres
def test_statements_may_be_wrapped_in_others_of_which_the_last_result_counts() -> None:
    """As some libraries do to hand a context to their triggers."""

    def wrap(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        result = execute(
            f"SELECT set_config('app.by', 'me', true);{sql}", params, many, context
        )
        while context["cursor"].nextset():
            pass
        return result

    ordered = Ordered()
    first, _second = ordered.send_all(range(2))
    with connection.execute_wrapper(wrap):
        ordered.run(first)
    assert ordered.calls == [0, 1]
    assert ordered.states() == ["succeeded", "succeeded"]


@on_postgres
def test_what_waits_for_others_is_not_even_locked_by_a_claim() -> None:
    """Who goes on with it would pass it over."""
    ordered = Ordered()
    first, *others = ordered.send_all(range(4))
    names: dict[str, Any] = {"names": [ordered.name], "lease": 60.0, "ordered": True}
    assert Delivery.objects.claim([first.id], **names)
    assert not Delivery.objects.claim([each.id for each in others], **names)
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmax::text FROM signal_tasks_delivery WHERE run = 1")
        lockers = [locker for (locker,) in cursor.fetchall()]
    assert lockers.count("0") == 3


def test_without_a_transaction_each_of_a_key_finishes_by_one_statement() -> None:
    ordered = Ordered(atomic=False)
    handles = ordered.send_all(range(4))
    statements = made(lambda: ordered.run(*handles))
    each = ["WITH"] if postgres else ["BEGIN", "UPDATE", "DELETE", "COMMIT"]
    assert statements == [*CLAIM, *each * 3, "BEGIN", *FINISH, "COMMIT"]


def test_what_waits_is_moved_away_by_one_statement_on_postgresql() -> None:
    ordered = Ordered(retry=LATER)
    _first, *others = ordered.send_all(range(4))
    statements = made(lambda: ordered.run(*others))
    if postgres:
        assert statements == ["WITH", "WITH"]


def test_waiting_takes_the_same_statements_whatever_the_number() -> None:
    ordered = Ordered(retry=LATER)
    ordered.failing = {0}
    handles = ordered.send_all(range(60))
    ordered.run(handles[0])
    process.size_of(ordered.name).deliveries = 100
    few = made(lambda: ordered.run(*handles[1:3]))
    process.size_of(ordered.name).deliveries = 100
    many = made(lambda: ordered.run(*handles[3:]))
    assert few == many


def test_without_an_ordered_receiver_nothing_is_asked_of_turns() -> None:
    plain = Ordered(ordered=False)
    with CaptureQueriesContext(connection) as queries:
        plain.send_all(range(3), key="k")
        run_pending()
    assert plain.calls == [0, 1, 2]
    text = " ".join(query["sql"] for query in queries.captured_queries)
    assert "signal_tasks_turn" not in text
    assert "signal_tasks_sequence" not in text


@on_postgres
@pytest.mark.django_db
class TestPlansBehindOneKey:
    """A hundred thousand that wait make nothing slower."""

    @pytest.fixture
    def ordered(self) -> Ordered:
        ordered = Ordered(retry=ONCE)
        ordered.first = ordered.send(0)  # type: ignore[attr-defined]
        number = 100_000
        name = ordered.name
        params: list[Any] = [number, ordered.signal.name, name, number, name]
        with connection.cursor() as cursor:
            cursor.execute(WAITING, params)
            cursor.execute("ANALYZE")
            cursor.execute("SET LOCAL random_page_cost = 1.1")
        return ordered

    def test_each_step_reads_a_few_rows(self, ordered: Any) -> None:
        with explained(most=6):
            ordered.send(1)
        rows = Delivery.objects.filter(receiver=ordered.name).order_by("-pk")
        some = list(rows.exclude(pk=ordered.first.id)[:100])
        with explained(most=600):  # a hundred that wait; some steps see them thrice
            ordered.run(*[Handle(row.pk) for row in some])
        assert ordered.calls == []
        ordered.rejected = {0}
        with explained(most=6):
            ordered.run(ordered.first, follows=False)
        with explained(most=6):
            Delivery.objects.filter(pk=ordered.first.id).discard()
        with explained(most=15_100):  # three looks at five thousand, and what is idle
            sweep(Sweep(), database="default")


@on_postgres
@pytest.mark.django_db
def test_no_step_is_taken_anew_for_each_pending_delivery_by_old_statistics() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # of tables without a pending delivery
    ordered = Ordered(retry=ONCE)
    first, later = (
        [ordered.send(number, key=f"k{number}") for number in range(100)]
        for _ in range(2)
    )
    process.size_of(ordered.name).deliveries = 20
    plans = Plans()
    with connection.execute_wrapper(plans):
        ordered.run(*later[:20])
        ordered.run(*first[:20], follows=False)
    assert len(ordered.calls) == 20
    assert plans.too_much(5_000) == []  # twenty looks at small tables


class Handle:
    def __init__(self, pk: Any) -> None:
        self.id = pk
