"""The statements of each hot path, and the number of rows that they read."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, Coalesce
from signal_tasks.db.clock import from_now
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery
from signal_tasks.operations import pause, resume
from signal_tasks.relay.pruning import prune_batch
from signal_tasks.relay.recovery import recover
from signal_tasks.relay.relay import Relay
from signal_tasks.states import Hold
from signal_tasks.steering.holding import hold
from signal_tasks.steering.snapshot import forget, fresh, snapshot
from signal_tasks.telemetry import gauges
from tests.signal_tasks.conftest import finish, listen

postgres = connection.vendor == "postgresql"
on_postgres = pytest.mark.skipif(not postgres, reason="PostgreSQL explains it")

#: Finished deliveries, and some that are not due, beside what is measured.
FILL = """
WITH event AS (
    INSERT INTO signal_tasks_event (id, signal, payload, headers, sent_at)
    SELECT gen_random_uuid(), 'tests.old', '{}', '', now() - n * interval '1 second'
    FROM generate_series(1, 20000) AS n RETURNING id, sent_at
)
INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, run, attempts,
    lease, available_at, next_check_at, publish_count, isolated, orphaned, finished_at)
SELECT gen_random_uuid(), id, 'tests.old', state, '', 1, 1, 1, sent_at,
    CASE state WHEN 'pending' THEN now() + interval '1 hour' END, 0, false, false,
    CASE state WHEN 'succeeded' THEN sent_at END
FROM (
    SELECT *, CASE WHEN random() < 0.02 THEN 'pending' ELSE 'succeeded' END AS state
    FROM event
) AS old
"""


def run(signal: AsyncSignal) -> None:
    """Run what is pending of this signal, in one message."""
    pending = Delivery.objects.filter(event__signal=signal.name, state="pending")
    ids = [str(pk) for pk in pending.order_by("pk").values_list("pk", flat=True)]
    (name,) = set(pending.values_list("receiver", flat=True))
    process_message(name, ids, "default", seconds=math.inf)


def send_many(signal: AsyncSignal, events: int) -> None:
    signal.send_many(sender=None, items=[{"n": n} for n in range(events)])


def send_for_the_relay(signal: AsyncSignal, events: int) -> None:
    """Send events that no process publishes, and that are due for the relay now."""
    signal.using(delay=3000).send_many(sender=None, items=[{}] * events)
    new = Delivery.objects.filter(event__signal=signal.name, publish_count=0)
    new.update(next_check_at=F("next_check_at") - timedelta(hours=1))


@pytest.fixture
def relay(_no_reports: None) -> Iterator[Relay]:
    """Make a relay that has already sent its heartbeat, and pruned."""
    relay = Relay("relay@test")
    relay.run_once()
    yield relay
    relay.close()


# -- how many ---------------------------------------------------------------------


@pytest.fixture
def statements(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[], object]], list[str]]:
    """Return the first words of the statements that a call makes.

    But for two looks every two seconds at what is steered, which is nothing.
    """
    monkeypatch.setattr("signal_tasks.steering.snapshot.MAX_AGE", 60.0)
    snapshot("default")

    def made(call: Callable[[], object]) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            call()
        return [query["sql"].split()[0] for query in queries.captured_queries]

    return made


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_claimed_and_finished_by_one_statement_each(
    signal: AsyncSignal, statements: Any
) -> None:
    listen(signal)
    send_many(signal, 8)
    of_the_test = 2  # which deliveries, of which receiver
    claimed = (
        ["WITH"] if postgres else ["BEGIN", "SELECT", "UPDATE", "COMMIT", "SELECT"]
    )
    finished = ["BEGIN", "UPDATE", "COMMIT"]
    assert statements(lambda: run(signal))[of_the_test:] == claimed + finished


@pytest.mark.django_db(transaction=True)
def test_without_group_commit_each_has_a_transaction_with_its_finish(
    signal: AsyncSignal, statements: Any
) -> None:
    listen(signal, group_commit=False)
    send_many(signal, 3)
    made = statements(lambda: run(signal))
    assert made[-9:] == ["BEGIN", "UPDATE", "COMMIT"] * 3
    assert len(made) == 2 + (1 if postgres else 5) + 9


@pytest.mark.django_db(transaction=True)
def test_where_nothing_is_steered_two_looks_are_made_every_few_seconds(
    statements: Any,
) -> None:
    forget()
    assert statements(lambda: snapshot("default")) == ["SELECT", "SELECT"]
    assert statements(lambda: snapshot("default")) == []


@pytest.mark.django_db(transaction=True)
def test_a_pass_that_finds_nothing_is_one_look(relay: Relay, statements: Any) -> None:
    assert statements(relay.run_once) == ["SELECT"]


@pytest.mark.django_db(transaction=True)
def test_a_pass_publishes_what_is_due_by_the_same_statements_whatever_its_number(
    signal: AsyncSignal, relay: Relay, statements: Any
) -> None:
    listen(signal)
    made = []
    for events in (3, 300):
        send_for_the_relay(signal, events)
        made.append(statements(relay.run_once))
    assert made[0] == made[1]
    found = ["SELECT"]
    nothing_expired = ["BEGIN", "SELECT", "COMMIT"]
    published = ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert made[0] == found + nothing_expired + published


@pytest.mark.django_db(transaction=True)
def test_pruning_takes_the_same_statements_whatever_their_number(
    signal: AsyncSignal, statements: Any
) -> None:
    listen(signal)
    made = []
    for events in (3, 300):
        send_many(signal, events)
        finish(Delivery.objects.all(), "succeeded")
        long_ago = F("finished_at") - timedelta(days=30)
        Delivery.objects.update(finished_at=long_ago)
        made.append(len(statements(lambda: prune_batch("default"))))
    assert made[0] == made[1] <= 15


@pytest.mark.django_db(transaction=True)
def test_holding_a_message_takes_the_same_statements_whatever_its_number(
    signal: AsyncSignal, statements: Any
) -> None:
    listen(signal)
    made = []
    for events in (1, 3, 100):
        Delivery.objects.all().delete()
        send_many(signal, events)
        pause("*")
        made.append(len(statements(lambda: run(signal))))
    of_the_test, look, hold, new_gate = 2, 2, 6, 2
    all_of_it = of_the_test + look + hold
    assert made == [all_of_it + new_gate, all_of_it, all_of_it]


@pytest.mark.django_db(transaction=True)
def test_a_pass_beside_held_deliveries_looks_at_their_gate_alone(
    signal: AsyncSignal, relay: Relay, statements: Any
) -> None:
    listen(signal)
    send_many(signal, 3)
    pause("*")
    run(signal)
    forget()
    look, due = ["SELECT", "SELECT"], ["SELECT"]
    assert statements(relay.run_once) == look + due


# -- how much ---------------------------------------------------------------------


class Plans:
    """Explain each statement on our tables before it is run."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []

    def __call__(
        self, execute: Any, sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if "signal_tasks_" in sql and not sql.startswith("EXPLAIN"):
            self._explain(sql, params)
        return execute(sql, params, many, context)

    def _explain(self, sql: str, params: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SAVEPOINT explained")
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            ((plan,),) = cursor.fetchall()
            cursor.execute("ROLLBACK TO SAVEPOINT explained")
        found = json.loads(plan) if isinstance(plan, str) else plan
        self._collect(found[0]["Plan"])

    def _collect(self, node: dict[str, Any]) -> None:
        self.nodes.append(node)
        for child in node.get("Plans", ()):
            self._collect(child)

    def too_much(self, most: int) -> list[dict[str, Any]]:
        """Return the steps that have read more rows than that."""
        return [node for node in self.nodes if _rows(node) > most]

    def read_whole(self) -> set[str]:
        """Return the large tables that were read from end to end; empty ones do no harm."""
        large = {"signal_tasks_delivery", "signal_tasks_event", "signal_tasks_turn"}
        scans = [node for node in self.nodes if node["Node Type"] == "Seq Scan"]
        return large & {node["Relation Name"] for node in scans if _rows(node)}


def _rows(node: dict[str, Any]) -> float:
    read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return float(node["Actual Loops"] * read)


@contextmanager
def explained(most: int) -> Iterator[None]:
    """Fail when a step here reads more than ``most`` rows, or a whole large table."""
    plans = Plans()
    with connection.execute_wrapper(plans):
        yield
    assert plans.nodes
    assert plans.read_whole() == set()
    assert plans.too_much(most) == []


@pytest.fixture
def _filled(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FILL)
        cursor.execute("ANALYZE")
        # As on the disks of today; a table of this size is nearly read whole otherwise.
        cursor.execute("SET LOCAL random_page_cost = 1.1")


@on_postgres
@pytest.mark.usefixtures("_filled")
class TestPlansOnFullTables:
    """Twenty thousand finished deliveries make the others no slower."""

    @pytest.mark.parametrize("events", [1, 100])
    def test_sending(self, events: int, signal: AsyncSignal) -> None:
        listen(signal)
        with explained(most=events):
            send_many(signal, events)

    def test_sending_once(self, signal: AsyncSignal) -> None:
        listen(signal)
        once = signal.using(dedupe_key="k")
        with explained(most=2):
            first = once.send(sender=None)
            assert once.send(sender=None) == first

    def test_merging_sends(self, signal: AsyncSignal) -> None:
        listen(signal, coalesce=Coalesce(key=lambda sender, **_: "k"))
        with explained(most=4):  # an index also knows former versions
            for _ in range(3):
                signal.send(sender=None)
        assert Delivery.objects.get(event__signal=signal.name).merged == 2

    @pytest.mark.parametrize("events", [1, 100])
    @pytest.mark.parametrize("atomic", [True, False])
    def test_claiming_and_finishing(
        self, atomic: bool, events: int, signal: AsyncSignal
    ) -> None:
        listen(signal, name="tests.explained", atomic=atomic)
        send_many(signal, events)
        rows = Delivery.objects.filter(receiver="tests.explained")
        ids = [str(pk) for pk in rows.values_list("pk", flat=True)]
        with explained(most=3 * events):  # an index also knows former versions
            process_message("tests.explained", ids, "default", seconds=math.inf)
        assert rows.filter(state="succeeded").count() == events

    def test_a_pass_of_the_relay(self, relay: Relay) -> None:
        with explained(most=1):
            relay.run_once()

    def test_a_pass_beside_held_deliveries(
        self, signal: AsyncSignal, relay: Relay
    ) -> None:
        listen(signal)
        send_many(signal, 2000)
        pause(signal)
        ids = list(Delivery.objects.filter(event__signal=signal.name).values_list("pk"))
        gate = f"signal:{signal.name}"
        hold([pk for (pk,) in ids], gate, Hold.PAUSED, database="default")
        with explained(most=20), fresh():
            assert relay.run_once()["default"].released == 0
        resume(signal)
        with explained(most=5 * 2000), fresh():
            assert relay.run_once()["default"].released == 2000

    def test_publishing_what_is_due(self, signal: AsyncSignal, relay: Relay) -> None:
        listen(signal)
        send_for_the_relay(signal, 100)
        with explained(most=300):  # an index also knows former versions
            relay.run_once()

    def test_recovering(self, signal: AsyncSignal) -> None:
        listen(signal)
        send_many(signal, 20)
        mine = Delivery.objects.filter(event__signal=signal.name)
        mine.update(state="running", next_check_at=F("available_at"), lease=1)
        with explained(most=40):
            assert recover("default") == 20

    def test_letting_the_leases_of_a_silent_worker_end(
        self, signal: AsyncSignal
    ) -> None:
        listen(signal)
        send_many(signal, 20)
        gone = uuid.uuid4()
        mine = Delivery.objects.filter(event__signal=signal.name)
        mine.update(state="running", next_check_at=from_now(60), claimed_by=gone)
        live = Delivery.objects.live().count()
        with explained(most=live + 20):  # an index also knows former versions
            assert Delivery.objects.expire_leases_of(gone) == 20

    def test_counting_for_metrics(self) -> None:
        live = Delivery.objects.live().count()
        with explained(most=3 * live):
            counted = gauges.read("default")
        assert counted.receivers["tests.old"].pending == live

    def test_pruning(self, signal: AsyncSignal, settings: Any) -> None:
        settings.SIGNAL_TASKS = {"KEEP_SUCCEEDED": timedelta(seconds=19_900)}
        with explained(most=400):
            assert 0 < prune_batch("default") <= 200  # it is some seconds later now
        with explained(most=50):
            assert prune_batch("default") <= 20
