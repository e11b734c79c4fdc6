"""Every change of a state is guarded by the row as it is, whatever the caller's filter.

In each test another connection changes the row after the verb has chosen it and before
the verb writes: the verb has to lose.
"""

from __future__ import annotations

import inspect
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F, QuerySet

from signal_tasks import AsyncSignal
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.complete import complete
from signal_tasks.models import Delivery, Event
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.states import Hold, State
from signal_tasks.steering.holding import hold
from tests.integration.workers import eventually
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db(transaction=True)

OURS, THEIRS = 7, 8  # leases
WORKER = uuid.uuid4()
WRITES = re.compile(r"\.update\(|_change\(|_delete")
LONG_AGO = timedelta(days=9)
Verb = Callable[[DeliveryQuerySet[Delivery], Delivery, int], Any]

PENDING: dict[str, Any] = {
    "state": "pending",
    "reason": "",
    "next_check_at": DatabaseNow(),
    "finished_at": None,
}
RUNNING = {**PENDING, "state": "running", "attempts": 1, "lease": OURS}
FINISHED = {
    "lease": OURS,
    "next_check_at": None,
    "finished_at": from_now(-LONG_AGO.total_seconds()),
}
SUCCEEDED = {**FINISHED, "state": "succeeded"}
DEAD = {**FINISHED, "state": "dead", "reason": "lost"}


def make_due(rows: DeliveryQuerySet[Delivery], row: Delivery) -> int:
    """Make it due in a transaction, as whoever locks has to."""
    with transaction.atomic():
        made, _ = rows.make_due([row.pk])
    return made


#: Each verb with the row that it starts from.
VERBS: dict[str, tuple[dict[str, Any], Verb]] = {
    "claim": (
        PENDING,
        lambda rows, row, lease: len(
            rows.claim([row.pk], names=[row.receiver], lease=9)
        ),
    ),
    "complete": (
        RUNNING,
        lambda rows, row, lease: complete([row.pk], lease=lease, database=rows.db),
    ),
    "finish": (
        RUNNING,
        lambda rows, row, lease: rows.finish([row.pk], lease, State.DEAD, "lost"),
    ),
    "schedule_retry": (
        RUNNING,
        lambda rows, row, lease: rows.schedule_retry([row.pk], lease, delay=1),
    ),
    "release": (RUNNING, lambda rows, row, lease: rows.release([row.pk], lease)),
    "extend": (RUNNING, lambda rows, row, lease: rows.extend([row.pk], lease, 60)),
    "count_attempt": (
        RUNNING,
        lambda rows, row, lease: rows.count_attempt([row.pk], lease),
    ),
    "schedule_publication": (
        PENDING,
        lambda rows, row, lease: rows.schedule_publication([row], after=60, longest=60),
    ),
    "unschedule": (
        PENDING,
        lambda rows, row, lease: rows.unschedule([row.pk], after=60),
    ),
    "adopt": (
        {**PENDING, "orphaned": True},
        lambda rows, row, lease: rows.adopt([row.receiver]),
    ),
    "park": (PENDING, lambda rows, row, lease: rows.park([row.pk], "why", after=9)),
    "unpark": (
        {**PENDING, "parked": "why"},
        lambda rows, row, lease: rows.unpark([row.pk]),
    ),
    "expire_leases_of": (
        {**RUNNING, "claimed_by": WORKER, "next_check_at": from_now(60)},
        lambda rows, row, lease: rows.expire_leases_of(WORKER),
    ),
    "make_due": (
        {**PENDING, "next_check_at": from_now(60)},
        lambda rows, row, lease: make_due(rows, row),
    ),
    "hold": (
        PENDING,
        lambda rows, row, lease: hold(
            [row.pk], "a gate", Hold.PAUSED, database=rows.db
        ),
    ),
    "replay": (DEAD, lambda rows, row, lease: rows.replay()),
    "discard": (PENDING, lambda rows, row, lease: rows.discard()),
    "discard dead": (DEAD, lambda rows, row, lease: rows.discard()),
    "undo_success": (SUCCEEDED, lambda rows, row, lease: rows.undo_success()),
    "prune": (
        SUCCEEDED,
        lambda rows, row, lease: rows.prune(
            State.SUCCEEDED, older_than=LONG_AGO / 2, limit=9
        ),
    ),
    "prune dead": (
        DEAD,
        lambda rows, row, lease: rows.prune(
            State.DEAD, older_than=LONG_AGO / 2, limit=9
        ),
    ),
}

#: What another actor makes of the row meanwhile.
CHANGES: dict[str, dict[str, Any]] = {
    "claimed by another": {**RUNNING, "lease": THEIRS, "claimed_by": uuid.uuid4()},
    "finished by another": {
        **SUCCEEDED,
        "lease": THEIRS,
        "finished_at": DatabaseNow(),
    },
}
FILTERS: dict[str, Callable[[Delivery], dict[str, Any]]] = {
    "no filter": lambda row: {},
    "its signal": lambda row: {"event__signal": row.event.signal},
    "its neighbour": lambda row: {"event__deliveries__receiver": row.receiver},
}


def put(row: Delivery, values: dict[str, Any]) -> None:
    Delivery.objects.filter(pk=row.pk).update(**values)


@pytest.fixture
def row(signal: AsyncSignal) -> Delivery:
    """Send to one receiver, without a message."""
    listen(signal)
    signal.using(delay=0.001).send(sender=None)
    found: Delivery = Delivery.objects.select_related("event").get()
    return found


class Elsewhere(Thread):
    """Runs a verb over a connection of its own; tells when it has begun to write."""

    def __init__(self, verb: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.verb = verb
        self.writes = Flag()
        self.backend: Any = None
        self.result: Any = None

    def run(self) -> None:
        try:
            with connection.execute_wrapper(self.watch):
                self.result = self.verb()
        finally:
            connection.close()

    def watch(self, execute: Any, sql: str, *args: Any) -> Any:
        if not sql.startswith("SELECT") or "FOR UPDATE" in sql:
            self.writes.set()
        return execute(sql, *args)

    def waits(self) -> bool:
        """Tell whether it waits for our lock, or has not waited and is done."""
        return not self.is_alive() or (self.writes.is_set() and someone_waits())


def someone_waits() -> bool:
    if connection.vendor == "sqlite":
        return True  # the thread has asked for the only lock
    ask = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock'"
        if connection.vendor == "postgresql"
        else "SELECT variable_value > 0 FROM information_schema.global_status "
        "WHERE variable_name = 'Innodb_row_lock_current_waits'"
    )
    with connection.cursor() as cursor:
        cursor.execute(ask)
        return bool(cursor.fetchone()[0])


def test_no_verb_of_the_queryset_is_left_out() -> None:
    ours = set(dir(DeliveryQuerySet)) - set(dir(QuerySet)) - {"forget_extensions"}
    writing = {
        name
        for name in ours
        if not name.startswith("_")
        and WRITES.search(inspect.getsource(getattr(DeliveryQuerySet, name)))
    }
    assert writing - {name.removesuffix(" dead") for name in VERBS} == set()
    assert {"finish", "replay", "expire_leases_of", "prune"} <= writing


@pytest.mark.parametrize("filtered", FILTERS)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        (name, change)
        for name, change in product(VERBS, CHANGES)
        if (name, change) != ("undo_success", "finished by another")
    ],
)
def test_a_verb_loses_against_who_changed_the_row_meanwhile(
    name: str, change: str, filtered: str, row: Delivery
) -> None:
    start, verb = VERBS[name]
    put(row, start)
    rows = Delivery.objects.filter(**FILTERS[filtered](row))
    other = Elsewhere(lambda: verb(rows, row, OURS))
    with transaction.atomic():
        put(row, CHANGES[change])
        other.start()
        eventually(other.waits, seconds=10)
    other.join(10)
    assert not other.is_alive()
    assert not other.result
    expected = {key: CHANGES[change][key] for key in ("state", "lease")}
    assert Delivery.objects.values("state", "lease").get() == expected
    now = Delivery.objects.get()
    assert (now.next_check_at is None) == (now.state == "succeeded")
    assert now.available_at == row.available_at
    assert now.publish_count == row.publish_count
    assert Event.objects.exists()


@pytest.mark.parametrize("filtered", FILTERS)
@pytest.mark.parametrize("name", VERBS)
def test_a_verb_changes_the_row_that_nobody_else_has_changed(
    name: str, filtered: str, row: Delivery
) -> None:
    start, verb = VERBS[name]
    put(row, start)
    before = Delivery.objects.values().get()
    verb(Delivery.objects.filter(**FILTERS[filtered](row)), row, OURS)
    assert before not in list(Delivery.objects.values())


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_an_operators_verb_keeps_to_the_filter_for_a_row_that_changed_meanwhile(
    verb: str, row: Delivery
) -> None:
    """Still in a state that the verb may change, but not the one that was asked for."""
    put(row, DEAD)
    rows = Delivery.objects.filter(state="dead", event__signal=row.event.signal)
    other = Elsewhere(getattr(rows, verb))
    theirs = {**FINISHED, "state": "discarded"} if verb == "replay" else PENDING
    with transaction.atomic():
        put(row, theirs)
        other.start()
        eventually(other.waits, seconds=10)
    other.join(10)
    assert other.result == 0
    assert Delivery.objects.get().state == theirs["state"]


def test_a_filtered_prune_deletes_no_event_that_another_delivery_needs(
    signal: AsyncSignal,
) -> None:
    for _ in range(2):
        listen(signal)
    signal.send(sender=None)
    done, pending = Delivery.objects.order_by("receiver")
    put(done, SUCCEEDED)
    rows = Delivery.objects.filter(receiver=done.receiver, event__signal=signal.name)
    assert rows.prune(State.SUCCEEDED, older_than=LONG_AGO / 2, limit=9) == 1
    assert Delivery.objects.get().event == Event.objects.get()
    assert Delivery.objects.get() == pending


@pytest.mark.skipif(
    not connection.features.has_select_for_update, reason="one writer at a time"
)
def test_two_filtered_prunes_of_one_event_leave_nothing_of_it(
    signal: AsyncSignal,
) -> None:
    for _ in range(2):
        listen(signal)
    signal.send(sender=None)
    Delivery.objects.update(**SUCCEEDED)
    one, two = (
        Delivery.objects.filter(receiver=each.receiver, event__signal=signal.name)
        for each in Delivery.objects.all()
    )
    how: Any = {"older_than": LONG_AGO / 2, "limit": 9}
    other = Elsewhere(lambda: two.prune(State.SUCCEEDED, **how))
    with transaction.atomic():
        assert one.prune(State.SUCCEEDED, **how) == 1
        other.start()
        eventually(other.waits, seconds=10)
    other.join(10)
    two.prune(State.SUCCEEDED, **how)  # what the other has passed over
    assert not Delivery.objects.exists()
    assert not Event.objects.exists()


def test_a_verb_for_many_rows_changes_all_of_them(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal_tasks.querysets.rows.BATCH", 2)
    listen(signal)
    signal.send_many(sender=None, items=[{}] * 5)
    rows = Delivery.objects.filter(event__signal=signal.name)
    assert rows.discard() == 5
    assert rows.filter(state="discarded").replay() == 5
    assert Delivery.objects.filter(state="pending", run=2, attempts=0).count() == 5


def test_a_token_that_a_forgotten_claim_held_is_worth_nothing(row: Delivery) -> None:
    """The server forgets the first claim; the same number would let both work."""
    put(row, PENDING)
    forgotten = Delivery.objects.filter(pk=row.pk).values().get()
    rows = Delivery.objects.all()
    claim: dict[str, Any] = {"names": [row.receiver], "lease": 60}
    (first,) = rows.claim([row.pk], **claim)
    Delivery.objects.filter(pk=row.pk).update(**forgotten)
    (second,) = rows.claim([row.pk], **claim)
    held = Delivery.objects.values().get()
    assert first.lease != second.lease
    for start, verb in VERBS.values():
        if start is RUNNING:
            assert verb(rows, row, first.lease) == 0
    assert Delivery.objects.values().get() == held
    assert complete([row.pk], lease=second.lease, database="default") == 1


def test_no_two_claims_have_the_same_token(signal: AsyncSignal) -> None:
    listen(signal)
    signal.send_many(sender=None, items=[{}] * 50)
    names = list(Delivery.objects.values_list("receiver", flat=True)[:1])
    ids: list[uuid.UUID] = list(Delivery.objects.values_list("pk", flat=True))
    leases = [
        Delivery.objects.all().claim([pk], names=names, lease=60)[0].lease for pk in ids
    ]
    assert len(set(leases)) == len(ids)
    assert all(0 < lease < 2**63 for lease in leases)


def test_replaying_takes_the_token_from_who_still_runs_it(row: Delivery) -> None:
    put(row, DEAD)
    assert Delivery.objects.filter(pk=row.pk).replay() == 1
    put(row, {"state": "running", "attempts": F("attempts") + 1})
    assert Delivery.objects.all().release([row.pk], OURS) == 0
