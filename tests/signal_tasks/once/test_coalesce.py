"""``coalesce=``: many sends become one delivery with the newest arguments."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.models.signals import post_delete, post_save
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from signal_tasks import (
    AsyncSignal,
    Coalesce,
    DeliveryHandle,
    async_receiver,
    operations,
)
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.models import Coalesced, Delivery, Event, HeldDelivery
from signal_tasks.relay.pruning import forget_keys
from signal_tasks.testing import run_pending
from tests.integration.workers import eventually
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.dispatch.ways import every_way, ways
from tests.signal_tasks.once.steps import SENDERS, at_once
from tests.signal_tasks.operations.steps import run_pass
from tests.signal_tasks.outbox.steps import undone
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)

locks_rows = pytest.mark.skipif(
    not connection.features.has_select_for_update, reason="one writer at a time"
)

WITHIN, MAX_WAIT = 5.0, 60.0


def by_key(sender: object, key: Any = "k", **named: Any) -> Any:
    return key


def coalesced(signal: AsyncSignal, **options: Any) -> list[dict[str, Any]]:
    """Connect a receiver that coalesces by the argument ``key``; return its calls."""
    how: dict[str, Any] = {
        "key": by_key,
        "within": WITHIN,
        "max_wait": MAX_WAIT,
    } | options
    name = how.pop("name", "tests.coalesced")
    return listen(signal, name=name, coalesce=Coalesce(**how))


def send(signal: AsyncSignal, **named: Any) -> DeliveryHandle:
    """Send to a single receiver; return its handle."""
    ((_, handle),) = signal.send(sender=None, **named)
    assert isinstance(handle, DeliveryHandle)
    return handle


def let_pass(seconds: float) -> None:
    """Move what is stored into the past by so many seconds."""
    time = timedelta(seconds=seconds)
    Coalesced.objects.update(due_by=F("due_by") - time)
    rows = Delivery.objects.filter(state="pending")
    moved = {"available_at": F("available_at") - time}
    rows.update(**moved, next_check_at=F("next_check_at") - time)


def seconds_until(when: datetime | None) -> float:
    assert when is not None
    return (when - timezone.now()).total_seconds()


# -- what is merged ---------------------------------------------------------------


@every_way
def test_many_sends_are_one_delivery_with_the_newest_arguments(
    way: str, signal: AsyncSignal
) -> None:
    calls = coalesced(signal)
    handles = [ways(signal)[way](sender=None, n=n)[0][1] for n in range(5)]
    assert len({handle.id for handle in handles}) == 1
    assert Delivery.objects.count() == Event.objects.count() == 1
    let_pass(WITHIN)
    run_pending()
    assert calls == [{"sender": None, "n": 4}]
    first = handles[0].refresh()
    assert (first.state, first.merged) == ("succeeded", 4)
    assert first.event_id == handles[-1].event_id


def test_sends_of_different_keys_and_receivers_are_not_merged(
    signal: AsyncSignal,
) -> None:
    calls = coalesced(signal)
    coalesced(signal, name="tests.another")
    for key in ("a", "A", 1, "x" * 300, "x" * 300 + "y"):
        for _ in range(2):
            signal.send(sender=None, key=key)
    assert Delivery.objects.count() == 10
    let_pass(WITHIN)
    run_pending()
    assert len(calls) == 5


def test_plain_receivers_of_the_same_event_get_each_send(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    plain = listen(signal)
    calls = coalesced(signal)
    for n in range(3):
        answers = signal.send(sender=None, n=n)
        assert len({handle.event_id for _, handle in answers}) == 1
    assert Event.objects.count() == 3
    let_pass(WITHIN)
    run_pending()
    assert [call["n"] for call in plain] == [0, 1, 2]
    assert [call["n"] for call in calls] == [2]
    published = [pk for request in submitted for pk in request.ids]
    assert len(published) == 3


def test_the_responses_keep_the_order_of_the_receivers(signal: AsyncSignal) -> None:
    for number, connect in enumerate((listen, coalesced, listen, coalesced)):
        connect(signal, name=f"tests.r{number}")
    for _ in range(2):
        answers = signal.send(sender=None)
        names = [handle.receiver for _, handle in answers]
        assert names == [f"tests.r{n}" for n in range(4)]


def test_an_old_event_stays_for_a_receiver_that_still_waits_for_it(
    signal: AsyncSignal,
) -> None:
    one = coalesced(signal, name="tests.one", key=lambda sender, a, **_: a)
    two = coalesced(signal, name="tests.two", key=lambda sender, b, **_: b)
    for a, b in ((1, 1), (1, 2), (2, 1), (1, 2)):
        signal.send(sender=None, a=a, b=b)
    assert Event.objects.count() == 2
    let_pass(WITHIN)
    run_pending()
    assert sorted((call["a"], call["b"]) for call in one) == [(1, 2), (2, 1)]
    assert sorted((call["a"], call["b"]) for call in two) == [(1, 2), (2, 1)]


# -- when it runs -----------------------------------------------------------------


def test_it_runs_within_seconds_of_the_last_send(signal: AsyncSignal) -> None:
    calls = coalesced(signal)
    send(signal)
    row = Delivery.objects.get()
    assert row.next_check_at == row.available_at
    assert WITHIN - 2 < seconds_until(row.available_at) <= WITHIN
    let_pass(WITHIN / 2)
    send(signal)
    row = Delivery.objects.get()
    assert WITHIN - 2 < seconds_until(row.available_at) <= WITHIN
    assert row.next_check_at == row.available_at
    run_pending()
    assert calls == []


def test_it_runs_no_later_than_max_wait_after_the_first(signal: AsyncSignal) -> None:
    coalesced(signal)
    send(signal)
    let_pass(MAX_WAIT - 2)
    send(signal)
    row = Delivery.objects.get()
    assert row.available_at == Coalesced.objects.get().due_by
    assert seconds_until(row.available_at) <= 2


def test_what_is_due_for_max_wait_is_not_touched_by_a_storm(
    signal: AsyncSignal,
) -> None:
    calls = coalesced(signal)
    first = send(signal, n=1)
    let_pass(MAX_WAIT)
    before = Delivery.objects.values().get()
    second = send(signal, n=2)
    assert second.id != first.id
    assert send(signal, n=3).id == second.id
    assert Delivery.objects.filter(pk=first.id).values().get() == before
    run_pending()
    assert calls == [{"sender": None, "n": 1}]


def test_max_wait_may_be_shorter_than_within(signal: AsyncSignal) -> None:
    coalesced(signal, within=60.0, max_wait=3.0)
    for _ in range(2):
        send(signal)
    row = Delivery.objects.get()
    assert seconds_until(row.available_at) <= 3
    assert row.merged == 1


def test_what_a_relay_has_published_is_put_off_and_published_again(
    signal: AsyncSignal,
) -> None:
    """The message finds nothing due; the next one is not later than the delivery."""
    coalesced(signal)
    handle = send(signal)
    later = timezone.now() + timedelta(hours=1)
    rows = Delivery.objects.filter(pk=handle.id)
    rows.update(next_check_at=later, publish_count=5)
    send(signal)
    row = rows.get()
    assert row.next_check_at == row.available_at
    assert row.publish_count == 0


def test_what_is_held_stays_held(signal: AsyncSignal) -> None:
    coalesced(signal)
    handle = send(signal)
    later = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    rows = Delivery.objects.filter(pk=handle.id)
    rows.update(next_check_at=later, publish_count=5)
    HeldDelivery.objects.create(delivery_id=handle.id, receiver="x", why="paused")
    assert send(signal).id == handle.id
    assert rows.values_list("next_check_at", "publish_count").get() == (later, 5)


# -- what is under way ------------------------------------------------------------

CLAIMED: dict[str, dict[str, Any]] = {
    "running": {"state": "running", "attempts": 1, "lease": 7},
    "waiting for a retry": {"attempts": 1, "lease": 7},
    "released": {"attempts": 0, "lease": 7},
    "replayed": {"run": 2},
}


@pytest.mark.parametrize("what", CLAIMED)
def test_a_run_under_way_is_not_disturbed(what: str, signal: AsyncSignal) -> None:
    coalesced(signal)
    first = send(signal)
    rows = Delivery.objects.filter(pk=first.id)
    rows.update(**CLAIMED[what])
    before = rows.values().get()
    second = send(signal)
    assert second.id != first.id
    assert rows.values().get() == before
    assert send(signal).id == second.id
    assert Delivery.objects.get(pk=second.id).merged == 1


@pytest.mark.parametrize("state", ["succeeded", "discarded", "dead"])
def test_what_is_finished_is_not_begun_again(state: str, signal: AsyncSignal) -> None:
    coalesced(signal)
    first = send(signal)
    finish(Delivery.objects.all(), state)
    assert send(signal).id != first.id
    assert Delivery.objects.filter(pk=first.id, state=state).exists()


def test_a_receiver_that_sends_while_it_runs_starts_the_next_run(
    signal: AsyncSignal,
) -> None:
    calls: list[int] = []

    def work(sender: object, n: int, **kwargs: Any) -> None:
        calls.append(n)
        if n < 2:
            signal.send(sender=None, n=n + 1)

    how = Coalesce(key=by_key, within=WITHIN, max_wait=MAX_WAIT)
    signal.connect(work, name="tests.works", weak=False, coalesce=how)
    signal.send(sender=None, n=1)
    for _ in range(2):
        let_pass(WITHIN)
        run_pending()
    assert calls == [1, 2]
    assert Delivery.objects.filter(state="succeeded", merged=0).count() == 2


def test_a_claim_that_sees_the_delivery_before_its_new_event_looks_again(
    signal: AsyncSignal,
) -> None:
    """PostgreSQL reads the newest row of what it locks, and the others as of before."""
    coalesced(signal)
    handle = send(signal)
    let_pass(WITHIN)
    newest = Event.objects.get()
    newest.pk = uuid.uuid4()
    Delivery.objects.update(event_id=newest.pk)

    committed: list[Event] = []

    def commit_meanwhile(execute: Any, sql: str, *args: Any) -> Any:
        looks = sql.startswith("SELECT") and "signal_tasks_event" in sql
        if looks and not committed:
            committed.append(newest)
            newest.save(force_insert=True)
        return execute(sql, *args)

    rows = Delivery.objects.all()
    with connection.execute_wrapper(commit_meanwhile):
        (claimed,) = rows.claim([handle.id], names=["tests.coalesced"], lease=60)
    assert claimed.payload == newest.payload
    assert claimed.signal == signal.name
    assert 0 <= claimed.age < 60


# -- transactions -----------------------------------------------------------------


def test_a_savepoint_that_is_rolled_back_takes_back_its_sends_alone(
    signal: AsyncSignal,
) -> None:
    calls = coalesced(signal)
    with transaction.atomic():
        send(signal, n=1)
        send(signal, n=2)
        with transaction.atomic():
            send(signal, n=3)
            send(signal, n=4)
            transaction.set_rollback(True)
        send(signal, n=5)
    assert Delivery.objects.get().merged == 2
    let_pass(WITHIN)
    run_pending()
    assert [call["n"] for call in calls] == [5]


def test_a_rolled_back_send_leaves_no_trace(signal: AsyncSignal) -> None:
    calls = coalesced(signal)
    with undone():
        send(signal, n=0)
    assert not Coalesced.objects.exists()
    send(signal, n=1)
    before = [list(model.objects.values()) for model in (Event, Delivery, Coalesced)]
    with undone():
        send(signal, n=2)
    with transaction.atomic(), undone():
        send(signal, n=3)
    after = [list(model.objects.values()) for model in (Event, Delivery, Coalesced)]
    assert after == before
    let_pass(WITHIN)
    run_pending()
    assert calls == [{"sender": None, "n": 1}]


def test_many_sends_of_one_transaction_are_one_delivery(signal: AsyncSignal) -> None:
    calls = coalesced(signal)
    with transaction.atomic():
        for n in range(200):
            send(signal, n=n)
    let_pass(WITHIN)
    run_pending()
    assert [call["n"] for call in calls] == [199]
    assert Delivery.objects.get().merged == 199


@locks_rows
def test_a_sender_waits_for_a_sender_of_its_key_and_for_nobody_else(
    signal: AsyncSignal,
) -> None:
    coalesced(signal)
    send(signal)
    told: list[str] = []

    def send_elsewhere(key: str) -> threading.Thread:
        def run() -> None:
            send(signal, key=key)
            told.append(key)
            connection.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    with transaction.atomic():
        send(signal)
        waits = send_elsewhere("k")
        send_elsewhere("another").join(20)
        assert told == ["another"]
    waits.join(20)
    assert told == ["another", "k"]
    assert sorted(Delivery.objects.values_list("merged", flat=True)) == [0, 2]


@locks_rows
def test_a_sender_does_not_wait_for_a_worker_or_relay_that_has_locked_the_delivery(
    signal: AsyncSignal,
) -> None:
    coalesced(signal)
    first = send(signal)
    with transaction.atomic():
        list(Delivery.objects.filter(pk=first.id).select_for_update())
        sent: list[DeliveryHandle] = []

        def run() -> None:
            sent.append(send(signal))
            connection.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(20)
        (second,) = sent
    assert second.id != first.id


def test_many_first_senders_at_once_make_one_delivery(signal: AsyncSignal) -> None:
    coalesced(signal)
    answers, errors = at_once(SENDERS, lambda n: send(signal, n=n))
    assert errors == []
    assert len({handle.id for handle in answers}) == 1
    assert Delivery.objects.get().merged == SENDERS - 1
    assert Event.objects.count() == 1


def test_of_many_senders_at_once_those_that_are_rolled_back_do_not_count(
    signal: AsyncSignal,
) -> None:
    coalesced(signal)

    def send_or_not(n: int) -> None:
        if n % 2:
            send(signal)
            return
        with undone():
            send(signal)

    _, errors = at_once(20, send_or_not)
    assert errors == []
    assert Delivery.objects.get().merged == 9
    assert Event.objects.count() == 1


def test_senders_at_once_to_receivers_of_several_keys_lose_nothing(
    signal: AsyncSignal,
) -> None:
    """Two receivers, whose keys cross: the events that both leave are deleted."""
    coalesced(signal, name="tests.one", key=lambda sender, a, **_: a)
    coalesced(signal, name="tests.two", key=lambda sender, b, **_: b)

    def send_some(n: int) -> None:
        for m in range(10):
            with transaction.atomic():
                signal.send(sender=None, a=(n + m) % 3, b=(n * m) % 3)

    _, errors = at_once(12, send_some)
    assert errors == []
    assert Delivery.objects.count() == 6
    assert sum(Delivery.objects.values_list("merged", flat=True)) == 240 - 6
    unused = Event.objects.filter(deliveries__isnull=True)
    eventually(lambda: not unused.exists(), seconds=10)


@locks_rows
@pytest.mark.parametrize("is_delivered", [True, False])
def test_an_event_that_a_backfill_delivers_meanwhile_is_kept_and_any_other_is_not(
    is_delivered: bool, signal: AsyncSignal
) -> None:
    coalesced(signal)
    send(signal, n=1)
    committed = threading.Event()
    senders: list[threading.Thread] = []

    def send_again() -> None:
        with transaction.atomic():
            transaction.on_commit(committed.set)
            signal.send(sender=None, n=2)
        connection.close()

    def is_meant(sender: object, n: int, **named: Any) -> bool:
        if n == 1:  # the backfill asks, and has locked the event
            senders.append(threading.Thread(target=send_again, daemon=True))
            senders[0].start()
            assert committed.wait(20)
        return n == 1 and is_delivered

    calls = listen(signal, name="tests.late", when=is_meant)
    operations.backfill("tests.late", since=timedelta(hours=1))
    run_pass()
    senders[0].join(20)
    assert Event.objects.count() == (2 if is_delivered else 1)
    run_pending()
    assert [call["n"] for call in calls] == [1] * is_delivered


@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="others wait, or read anew"
)
def test_a_sender_that_cannot_see_the_delivery_of_a_backfill_does_not_take_its_event(
    signal: AsyncSignal,
) -> None:
    coalesced(signal)
    old = send(signal, n=1).event_id

    def backfill() -> None:
        listen(signal, name="tests.late")
        operations.backfill("tests.late", since=timedelta(hours=1))
        run_pass()
        connection.close()

    def send_after_a_backfill() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert Event.objects.get().pk == old  # from now on nothing new is seen
            thread = threading.Thread(target=backfill, daemon=True)
            thread.start()
            thread.join(20)
            signal.send(sender=None, n=2)

    with pytest.raises(OperationalError) as raised:
        send_after_a_backfill()
    assert fault_of(raised.value) is Fault.TRANSACTION
    assert Delivery.objects.filter(receiver="tests.late", event_id=old).exists()
    assert Event.objects.filter(pk=old).exists()


# -- other ways to send -----------------------------------------------------------


def test_send_many_merges_within_the_batch(signal: AsyncSignal) -> None:
    calls = coalesced(signal)
    send(signal, key="a", n=-1)
    items = [{"key": "ab"[n % 2], "n": n} for n in range(1500)]
    ids = signal.send_many(sender=None, items=items)
    assert len(ids) == len(set(ids)) <= 4
    assert Event.objects.count() == 2
    merged = dict(Delivery.objects.values_list("event__id", "merged"))
    assert sorted(merged.values()) == [749, 750]
    let_pass(WITHIN)
    run_pending()
    assert sorted(call["n"] for call in calls) == [1498, 1499]


def test_send_many_gives_plain_receivers_each_event(signal: AsyncSignal) -> None:
    plain = listen(signal)
    coalesced(signal)
    ids = signal.send_many(sender=None, items=[{"n": n} for n in range(20)])
    assert len(ids) == Event.objects.count() == 20
    assert Delivery.objects.count() == 21
    run_pending()
    assert len(plain) == 20


@pytest.mark.usefixtures("_forgotten")
def test_a_storm_of_post_save_is_one_run_with_the_newest_row() -> None:
    calls: list[str] = []

    @async_receiver(
        post_save,
        sender=Thing,
        name="tests.saved",
        coalesce=Coalesce(key=lambda sender, instance, **_: instance),
    )
    def index(sender: object, instance: Thing, **kwargs: Any) -> None:
        calls.append(instance.name)

    one, two = (Thing.objects.create(name="0") for _ in range(2))
    for n in range(1, 30):
        one.name = two.name = str(n)
        one.save()
        two.save()
    let_pass(WITHIN)
    run_pending()
    assert calls == ["29", "29"]


@pytest.mark.usefixtures("_forgotten")
def test_the_key_is_made_of_what_is_sent_and_not_of_what_travels() -> None:
    calls: list[str] = []

    @async_receiver(
        post_delete,
        sender=Thing,
        name="tests.deleted",
        exclude=["origin"],
        coalesce=Coalesce(key=lambda sender, instance, origin, **_: instance.name),
    )
    def note(sender: object, instance: Thing, **kwargs: Any) -> None:
        calls.append(instance.name)

    for _ in range(3):
        Thing.objects.create(name="x").delete()
    let_pass(WITHIN)
    run_pending()
    assert calls == ["x"]


@pytest.fixture
def _forgotten() -> Any:
    """Disconnect from Django's signals what a test has connected."""
    yield
    for signal in (post_save, post_delete):
        for name in ("tests.saved", "tests.deleted"):
            signal.disconnect(sender=Thing, dispatch_uid=name)


def test_a_dedupe_key_and_coalescing_go_together(signal: AsyncSignal) -> None:
    calls = coalesced(signal)
    for key in ("a", "a", "b"):
        signal.using(dedupe_key=key).send(sender=None, n=key)
    assert Delivery.objects.get().merged == 1
    let_pass(WITHIN)
    run_pending()
    assert calls == [{"sender": None, "n": "b"}]


# -- what is refused --------------------------------------------------------------


@pytest.mark.parametrize("when", [{"delay": 5}, {"at": timezone.now()}])
def test_a_time_of_its_own_is_refused_before_anything_is_written(
    when: dict[str, Any], signal: AsyncSignal
) -> None:
    inline = listen(signal, inline=True)
    coalesced(signal)
    with transaction.atomic():
        with pytest.raises(ValueError, match=r"tests\.coalesced"):
            signal.using(**when).send(sender=None)
        signal.send(sender=None)
    assert len(inline) == Event.objects.count() == 1


@pytest.mark.parametrize("key", [None, 1.5, "", Thing()])
def test_a_key_of_no_meaning_is_refused_and_names_the_receiver(
    key: Any, signal: AsyncSignal
) -> None:
    coalesced(signal)
    with pytest.raises((TypeError, ValueError), match=r"tests\.coalesced"):
        signal.send(sender=None, key=key)
    assert not Event.objects.exists()


def test_ordered_and_coalesced_is_refused_at_connect(signal: AsyncSignal) -> None:
    how: Any = {"ordered": True, "coalesce": Coalesce(key=by_key)}
    with pytest.raises(ImproperlyConfigured, match="drops all but the newest"):
        listen(signal, **how)


# -- what it costs ----------------------------------------------------------------

FIRST = {
    # readable; the row: look, insert, look; delivery; event
    "postgresql": ["SELECT", "SELECT", "INSERT", "SELECT", "INSERT", "INSERT"],
    "sqlite": ["SELECT", "INSERT", "SELECT", "INSERT", "INSERT"],
    # look; lock, look, insert, unlock; look
    "mysql": [*["SELECT"] * 3, "INSERT", *["SELECT"] * 2, "INSERT", "INSERT"],
}
#: Look at the row and the delivery; merge; lock the old event, delete it if it has no
#: others, and insert the new one.
AGAIN = ["SELECT", "SELECT", "UPDATE", "SELECT", "DELETE", "INSERT"]
LOCKING = ["SELECT", *AGAIN[:3], "SELECT", *AGAIN[3:]]
MERGED = {"postgresql": LOCKING, "sqlite": AGAIN, "mysql": LOCKING}


def test_a_send_takes_few_statements(signal: AsyncSignal) -> None:
    coalesced(signal)
    for expected in (FIRST, MERGED):
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            send(signal)
        made = [query["sql"].split()[0] for query in queries.captured_queries]
        assert made == expected[connection.vendor]


def test_a_merged_delivery_is_seen_as_such(signal: AsyncSignal) -> None:
    coalesced(signal)
    for _ in range(3):
        handle = send(signal)
    out = StringIO()
    call_command("signal_tasks", "inspect", str(handle.id), stdout=out)
    (delivery,) = json.loads(out.getvalue())["deliveries"]
    assert delivery["merged"] == 2
    out = StringIO()
    call_command("signal_tasks", "list", "--json", stdout=out)
    (receiver,) = json.loads(out.getvalue())[signal.name]
    how = {"key": "by_key", "within": WITHIN, "max_wait": MAX_WAIT}
    assert receiver["coalesce"] == how


def test_rows_of_keys_that_take_no_more_sends_are_pruned(signal: AsyncSignal) -> None:
    coalesced(signal)
    for key in ("old", "new"):
        send(signal, key=key)
    old = Coalesced.objects.filter(key="old")
    old.update(due_by=F("due_by") - timedelta(seconds=MAX_WAIT))
    assert forget_keys("default") == 1
    assert Coalesced.objects.get().key == "new"
    send(signal, key="old")
    assert Coalesced.objects.count() == 2
