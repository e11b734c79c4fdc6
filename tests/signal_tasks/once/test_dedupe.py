"""``using(dedupe_key=...)``: a signal is sent once under a key."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

from signal_tasks import AsyncSignal, DuplicateEvent, Reject
from signal_tasks.models import DedupeKey, Delivery, Event
from signal_tasks.relay.pruning import prune
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.dispatch.ways import every_way, ways
from tests.signal_tasks.once.steps import SENDERS, at_once
from tests.signal_tasks.outbox.steps import undone
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)


def once(signal: AsyncSignal, key: Any = "k", **options: Any) -> Any:
    return signal.using(dedupe_key=key, **options)


def expire(**which: Any) -> None:
    DedupeKey.objects.filter(**which).update(
        expires_at=F("expires_at") - timedelta(days=2)
    )


@every_way
def test_a_second_send_does_nothing_and_returns_the_handles_of_the_first(
    way: str, signal: AsyncSignal
) -> None:
    calls = listen(signal, name="tests.once.a")
    listen(signal, name="tests.once.b")
    send = ways(once(signal))[way]
    first = send(sender=None, n=1)
    assert send(sender=None, n=2) == first
    assert Event.objects.count() == 1
    assert Delivery.objects.count() == 2
    run_pending()
    assert calls == [{"sender": None, "n": 1}]
    ((_, handle), _) = send(sender=None, n=3)
    assert handle.state == "succeeded"


@every_way
def test_a_second_send_raises_if_asked_to_and_leaves_the_transaction_usable(
    way: str, signal: AsyncSignal
) -> None:
    listen(signal)
    with transaction.atomic():
        ((_, handle),) = ways(once(signal))[way](sender=None)
        with pytest.raises(DuplicateEvent) as raised:
            ways(once(signal, on_duplicate="raise"))[way](sender=None)
        Thing.objects.create(name="after")
    assert raised.value.event_id == handle.event_id
    assert raised.value.signal == signal.name
    assert raised.value.key == "k"
    assert str(handle.event_id) in str(raised.value)
    assert Thing.objects.exists()
    assert Event.objects.count() == 1


def test_another_key_and_another_signal_are_others(signal: AsyncSignal) -> None:
    listen(signal)
    other = AsyncSignal(name=f"{signal.name}.other")
    listen(other)
    once(signal, "a").send(sender=None)
    once(signal, "A").send(sender=None)
    once(signal, "a ").send(sender=None)
    once(other, "a").send(sender=None)
    signal.send(sender=None)
    assert Event.objects.count() == 5


@pytest.mark.parametrize(
    "key",
    [7, uuid.UUID(int=7), "x" * 256, "%s 'a' \"b\" {c}", "nul\0", "\ud800", "ä"],
    ids=["int", "uuid", "long", "sql", "nul", "surrogate", "letter"],
)
def test_a_key_is_whatever_tells_sends_apart(key: Any, signal: AsyncSignal) -> None:
    listen(signal)
    for _ in range(2):
        once(signal, key).send(sender=None)
    assert Event.objects.count() == 1


def test_long_keys_that_end_differently_are_different(signal: AsyncSignal) -> None:
    listen(signal)
    for end in "ab":
        once(signal, "x" * 300 + end).send(sender=None)
    assert Event.objects.count() == 2


def test_a_model_instance_is_a_key(signal: AsyncSignal) -> None:
    listen(signal)
    things = [Thing.objects.create(name="x") for _ in range(2)]
    for thing in (*things, *things):
        once(signal, thing).send(sender=None)
    assert Event.objects.count() == 2


def test_a_lazy_row_is_the_key_that_its_row_is(signal: AsyncSignal) -> None:
    listen(signal)
    thing = Thing.objects.create(name="x")
    once(signal, thing).send(sender=None)
    once(signal, SimpleLazyObject(lambda: thing)).send(sender=None)
    assert Event.objects.count() == 1


WRONG: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "empty": (ValueError, {"dedupe_key": ""}),
    "not saved": (ValueError, {"dedupe_key": Thing()}),
    "a float": (TypeError, {"dedupe_key": 1.5}),
    "a bool": (TypeError, {"dedupe_key": True}),
    "no time": (ValueError, {"dedupe_key": "k", "dedupe_for": 0}),
    "a negative time": (
        ValueError,
        {"dedupe_key": "k", "dedupe_for": timedelta(days=-1)},
    ),
    "another answer": (ValueError, {"dedupe_key": "k", "on_duplicate": "wait"}),
    "no key": (ValueError, {"on_duplicate": "raise"}),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_makes_no_sense_is_refused_at_once(what: str, signal: AsyncSignal) -> None:
    error, options = WRONG[what]
    with pytest.raises(error, match="using"):
        signal.using(**options)


def test_one_key_for_many_events_is_refused_with_the_way_out(
    signal: AsyncSignal, heard: list[Any]
) -> None:
    with pytest.raises(ValueError, match=r"using\(dedupe_key=\.\.\.\)\.send\(\)"):
        once(signal).send_many(sender=None, items=[{}, {}])
    assert not Event.objects.exists()


# -- for how long -----------------------------------------------------------------


@pytest.mark.parametrize("time", [60, 60.5, timedelta(minutes=1)])
def test_an_expired_key_lets_one_send_pass(time: Any, signal: AsyncSignal) -> None:
    listen(signal)
    for _ in range(2):
        once(signal, dedupe_for=time).send(sender=None)
    expire()
    for _ in range(2):
        once(signal, dedupe_for=time).send(sender=None)
    assert Event.objects.count() == 2
    assert DedupeKey.objects.count() == 1


def test_the_key_outlives_the_dead_letter_of_its_event(signal: AsyncSignal) -> None:
    def refuse(sender: object, **kwargs: Any) -> None:
        raise Reject("no")

    signal.connect(refuse, name="tests.once.refuse", weak=False)
    once(signal).send(sender=None)
    run_pending()
    ((_, handle),) = once(signal).send(sender=None)
    assert handle.state == "dead"
    assert Event.objects.count() == 1


def test_a_duplicate_of_what_was_pruned_has_no_handles(signal: AsyncSignal) -> None:
    listen(signal)
    once(signal).send(sender=None)
    Delivery.objects.all().delete()
    Event.objects.all().delete()
    assert once(signal).send(sender=None) == []
    assert not Event.objects.exists()


def test_expired_keys_are_pruned_by_the_relay_and_no_others(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    once(signal, "old").send(sender=None)
    once(signal, "new").send(sender=None)
    expire(key="old")
    relay = Relay("relay@test")
    relay.run_once()
    relay.close()
    assert DedupeKey.objects.get().key == "new"


def test_any_number_of_expired_keys_is_pruned_in_batches(signal: AsyncSignal) -> None:
    listen(signal)
    once(signal, "new").send(sender=None)
    event = Event.objects.get()
    DedupeKey.objects.bulk_create(
        DedupeKey(
            signal="tests.old", key=n, event_id=event.pk, expires_at=event.sent_at
        )
        for n in range(2500)
    )
    prune("default")
    assert DedupeKey.objects.get().key == "new"


# -- transactions -----------------------------------------------------------------


def test_a_rolled_back_send_does_not_hold_its_key(signal: AsyncSignal) -> None:
    calls = listen(signal)
    with undone():
        once(signal).send(sender="first")
    with transaction.atomic(), undone():
        once(signal).send(sender="second")
    once(signal).send(sender="third")
    run_pending()
    assert calls == [{"sender": "third"}]


def test_a_second_send_of_one_transaction_is_a_duplicate(signal: AsyncSignal) -> None:
    listen(signal)
    with transaction.atomic():
        first = once(signal).send(sender=None)
        assert once(signal).send(sender=None) == first
    assert Event.objects.count() == 1


def statements(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"].split()[0] for query in queries.captured_queries]


EVENT = ["INSERT", "INSERT"]
FIRST = {
    "postgresql": ["WITH"],
    "sqlite": ["INSERT", "SELECT", *EVENT],
    # look; lock, look, insert, unlock; look
    "mysql": [*["SELECT"] * 3, "INSERT", *["SELECT"] * 2, *EVENT],
}
#: The same until it shows, then the deliveries of the first.
DUPLICATE = {
    "postgresql": ["WITH", "SELECT", "SELECT"],
    "sqlite": ["INSERT", "SELECT", "SELECT"],
    "mysql": ["SELECT", "SELECT"],
}


def test_a_first_send_takes_few_statements(signal: AsyncSignal) -> None:
    listen(signal)
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        once(signal).send(sender=None)
    assert statements(queries) == FIRST[connection.vendor]


def test_a_duplicate_takes_few_statements(signal: AsyncSignal) -> None:
    listen(signal)
    once(signal).send(sender=None)
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        once(signal).send(sender=None)
    assert statements(queries) == DUPLICATE[connection.vendor]


# -- inline receivers -------------------------------------------------------------


@every_way
def test_inline_receivers_hear_the_first_send_alone(
    way: str, signal: AsyncSignal
) -> None:
    listen(signal)
    inline = listen(signal, inline=True)
    send = ways(once(signal))[way]
    assert next(answer for _, answer in send(sender=1)) == "heard"
    (_, handle) = send(sender=2)[0]
    assert handle.state == "pending"
    assert inline == [{"sender": 1}]


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "alone"])
def test_an_inline_receiver_that_raises_leaves_neither_event_nor_key(
    inside: bool, signal: AsyncSignal
) -> None:
    listen(signal)

    def stumble(sender: object, **kwargs: Any) -> None:
        raise RuntimeError("on purpose")

    signal.connect(stumble, inline=True)
    with transaction.atomic() if inside else undone():
        with pytest.raises(RuntimeError):
            once(signal).send(sender=None)
        Thing.objects.create(name="after")
    assert Thing.objects.exists() == inside
    assert not Event.objects.exists()
    assert not DedupeKey.objects.exists()
    signal.disconnect(stumble)
    once(signal).send(sender=None)
    assert Event.objects.count() == 1


def test_a_signal_that_caches_may_be_sent_once_by_nobody() -> None:
    signal = AsyncSignal(use_caching=True, name=f"tests.{uuid.uuid4().hex}")
    listen(signal)
    for sender in (None, "a text"):
        once(signal).send(sender=sender)
    assert Event.objects.count() == 1


def test_without_durable_receivers_nothing_is_written_and_inline_ones_hear_all(
    signal: AsyncSignal,
) -> None:
    inline = listen(signal, inline=True)
    for n in range(2):
        once(signal).send(sender=n)
    assert len(inline) == 2
    assert not DedupeKey.objects.exists()


# -- at the same time -------------------------------------------------------------


ROUNDS = -(-200 // SENDERS)


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "alone"])
def test_of_many_sends_at_once_one_is_written_and_none_fails(
    inside: bool, signal: AsyncSignal
) -> None:
    listen(signal)

    def send(n: int) -> Any:
        if not inside:
            return once(signal).send(sender=n)
        with transaction.atomic():
            Thing.objects.create(name=n)
            answer = once(signal).send(sender=n)
            Thing.objects.create(name=n)
            return answer

    answers: list[Any] = []
    for _ in range(ROUNDS):
        some, errors = at_once(SENDERS, send)
        assert errors == []
        answers += some
    assert len({handle.id for ((_, handle),) in answers}) == 1
    assert len(answers) >= 200
    assert Event.objects.count() == Delivery.objects.count() == 1
    assert Thing.objects.count() == 2 * inside * len(answers)


def test_many_sends_at_once_of_which_the_first_are_rolled_back_write_one(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    last = 19

    def send(n: int) -> None:
        if n == last:
            once(signal).send(sender=n)
            return
        with undone():
            once(signal).send(sender=n)

    for _ in range(5):
        _, errors = at_once(20, send)
        assert errors == []
    assert Event.objects.count() == 1


def test_many_sends_at_once_of_different_keys_do_not_disturb_each_other(
    signal: AsyncSignal,
) -> None:
    listen(signal)

    def send(n: int) -> None:
        for m in range(10):
            once(signal, f"{m}.{n}").send(sender=n)

    _, errors = at_once(20, send)
    assert errors == []
    assert Event.objects.count() == 200


def test_transactions_at_once_that_send_keys_in_one_order_only_wait(
    signal: AsyncSignal,
) -> None:
    """Some are expired, and some of the transactions are rolled back."""
    listen(signal)
    for m in range(0, 15, 3):
        once(signal, f"{m:02}").send(sender=None)
    expire()

    def send(n: int) -> None:
        with undone() if n % 3 == 0 else transaction.atomic():
            for m in range(n, n + 5):
                once(signal, f"{m:02}").send(sender=n)

    _, errors = at_once(9, send)
    assert errors == []
    assert DedupeKey.objects.count() == 13
    assert Event.objects.count() == 5 + 12
