"""Batch receivers: one call for many deliveries, an answer for each of them."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext

from signal_tasks import (
    AsyncSignal,
    BatchItem,
    NoAnswer,
    NoCurrentDelivery,
    Reject,
    Retry,
    RetryPolicy,
    SignalLoop,
    async_receiver,
    current_delivery,
    operations,
    signals,
)
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.steering.snapshot import snapshot
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import AT_ONCE, atomic_or_not, connect, ids_of
from tests.testapp.models import Draft, Effect, Thing

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = RetryPolicy(max_attempts=1)
Batch = Sequence[BatchItem]


class Recorder:
    """A batch receiver that writes an effect for each item, then answers as told."""

    def __init__(self, answer: Callable[[Batch], object] = lambda batch: batch) -> None:
        self.calls: list[list[str]] = []
        self.answer = answer
        self.__name__ = "recorder"

    def __call__(self, batch: Batch, **kwargs: Any) -> object:
        self.calls.append([item["key"] for item in batch])
        for item in batch:
            Effect.objects.create(what="indexed", key=item["key"])
        return self.answer(batch)

    @property
    def keys(self) -> list[str]:
        return [key for call in self.calls for key in call]

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.calls]


def bad(item: BatchItem) -> bool:
    return str(item["key"]).startswith("bad")


def raise_for_bad(batch: Batch) -> object:
    if any(map(bad, batch)):
        raise ValueError("one of them is bad")
    return batch


def answer_for_bad(batch: Batch) -> Mapping[BatchItem, object]:
    return {item: ValueError("bad") if bad(item) else None for item in batch}


def send(signal: AsyncSignal, *keys: str) -> None:
    signal.send_many(sender=None, items=[{"key": key} for key in keys])


def states() -> dict[str, int]:
    return dict(Counter(Delivery.objects.values_list("state", flat=True)))


def effects() -> list[str]:
    return sorted(Effect.objects.values_list("key", flat=True))


def errors() -> list[str]:
    return list(Attempt.objects.values_list("error", flat=True))


# -- what it gets -----------------------------------------------------------------


@atomic_or_not
def test_it_is_called_once_for_up_to_so_many_deliveries(
    atomic: bool, signal: AsyncSignal
) -> None:
    receiver = Recorder()
    connect(signal, receiver, batch=4, atomic=atomic)
    send(signal, *"abcdefg")
    run_pending()
    assert receiver.sizes == [4, 3]
    assert sorted(receiver.keys) == list("abcdefg") == effects()
    assert states() == {"succeeded": 7}


def test_each_item_is_a_delivery_with_its_arguments(signal: AsyncSignal) -> None:
    got: list[Any] = []

    def look(batch: Batch, signal: object, **kwargs: Any) -> Batch:
        assert not kwargs
        got.append((signal, batch))
        return batch

    connect(signal, look, batch=10)
    thing = Thing.objects.create(name="a thing")
    for n in range(2):
        signal.using(headers={"n": n}).send(sender=Thing, thing=thing, n=n)
    run_pending()
    ((heard, batch),) = got
    assert heard is signal
    assert [item.sender for item in batch] == [Thing, Thing]
    assert sorted(item["n"] for item in batch) == [0, 1]
    for item in batch:
        assert item.arguments == {"thing": thing, "n": item["n"]}
        assert item.id == item.delivery.id
        assert item.delivery.idempotency_key == str(item.id)
        assert item.delivery.headers == {"n": item["n"]}
        assert item.delivery.attempt == 1
        assert Delivery.objects.get(pk=item.id).event_id == item.event_id


@pytest.mark.parametrize("number", [1, 2])
def test_there_is_no_current_delivery_in_a_batch(
    number: int, signal: AsyncSignal
) -> None:
    said: list[str] = []

    def ask(batch: Batch, **kwargs: Any) -> Batch:
        with pytest.raises(NoCurrentDelivery, match=r"item\.delivery") as caught:
            current_delivery()
        said.append(str(caught.value))
        return batch

    connect(signal, ask, batch=10, name="t.ask")
    send(signal, *"ab"[:number])
    run_pending()
    assert "t.ask" in said[0]
    assert states() == {"succeeded": number}


def test_an_async_receiver_is_awaited_for_its_answers(signal: AsyncSignal) -> None:
    async def index(batch: Batch, **kwargs: Any) -> object:
        await Effect.objects.acreate(what="indexed", key=str(len(batch)))
        return {item: ValueError("bad") if bad(item) else None for item in batch}

    connect(signal, index, batch=10, atomic=False, retry=ONCE)
    send(signal, "a", "bad", "c")
    run_pending()
    assert effects() == ["3"]
    assert states() == {"succeeded": 2, "dead": 1}


def test_it_hears_a_signal_of_django(connected: Any) -> None:
    calls: list[int] = []
    name = f"t.drafts_{uuid.uuid4().hex}"

    @async_receiver(post_save, sender=Draft, name=name, batch=100)
    def index_drafts(batch: Batch, **kwargs: Any) -> Batch:
        calls.append(len({item["instance"].pk for item in batch}))
        return batch

    for n in range(3):
        Draft.objects.create(text=str(n))
    run_pending()
    post_save.disconnect(index_drafts, sender=Draft)
    assert calls == [3]


# -- what it answers --------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda batch: batch,
        lambda batch: [item.id for item in batch],
        lambda batch: {str(item.id) for item in batch},
        lambda batch: dict.fromkeys(batch),
        lambda batch: {item.id: True for item in batch},
    ],
)
@atomic_or_not
def test_those_that_it_names_have_succeeded(
    atomic: bool, answer: Callable[[Batch], object], signal: AsyncSignal
) -> None:
    receiver = Recorder(answer)
    connect(signal, receiver, batch=10, atomic=atomic)
    send(signal, *"abc")
    run_pending()
    assert receiver.sizes == [3]
    assert states() == {"succeeded": 3}


@atomic_or_not
def test_an_omitted_one_counts_as_failed(atomic: bool, signal: AsyncSignal) -> None:
    receiver = Recorder(lambda batch: [item for item in batch if not bad(item)])
    connect(signal, receiver, batch=10, atomic=atomic, retry=ONCE, name="t.index")
    send(signal, "a", "bad", "c")
    run_pending()
    assert states() == {"succeeded": 2, "dead": 1}
    assert errors() == ["t.index did not answer for this delivery"]


@pytest.mark.parametrize("number", [1, 3])
@atomic_or_not
def test_to_return_nothing_succeeds_for_none_of_them(
    atomic: bool, number: int, signal: AsyncSignal
) -> None:
    receiver = Recorder(lambda batch: None)
    connect(signal, receiver, batch=10, atomic=atomic, retry=ONCE, name="t.index")
    send(signal, *"abc"[:number])
    run_pending()
    assert receiver.sizes == [number]
    assert states() == {"dead": number}
    for error in errors():
        assert error.startswith("t.index returned None, which answers for no delivery")
        assert "return the batch if all of it has succeeded" in error


def test_an_answer_under_a_wrong_key_is_told(signal: AsyncSignal) -> None:
    connect(signal, Recorder(lambda batch: {17: None}), batch=10, retry=ONCE)
    send(signal, "a", "b")
    run_pending()
    assert states() == {"dead": 2}
    assert all("but for one that is not in its batch" in each for each in errors())


@pytest.mark.parametrize("answer", [False, "fine", ValueError])
def test_an_answer_is_none_or_true_or_an_exception(
    answer: object, signal: AsyncSignal
) -> None:
    connect(
        signal,
        Recorder(lambda batch: dict.fromkeys(batch, answer)),
        batch=5,
        retry=ONCE,
    )
    send(signal, "a", "b")
    run_pending()
    assert states() == {"dead": 2}
    assert all("for this delivery; give None" in each for each in errors())
    assert Attempt.objects.first().error_type == NoAnswer.__name__  # type: ignore[union-attr]


@atomic_or_not
def test_each_answer_is_for_its_delivery_alone(
    atomic: bool, signal: AsyncSignal
) -> None:
    given: dict[str, object] = {
        "a": None,
        "later": Retry(after=3600),
        "never": Reject("no such order"),
        "soon": ValueError("busy"),
    }
    receiver = Recorder(lambda batch: {item: given[item["key"]] for item in batch})
    slow = RetryPolicy(max_attempts=3, backoff=60, jitter=False)
    connect(signal, receiver, batch=10, atomic=atomic, retry=slow)
    send(signal, *given)
    run_pending()
    found = {
        each.event.payload.split('"key":"')[1].split('"')[0]: each
        for each in Delivery.objects.select_related("event")
    }
    assert {key: (row.state, row.attempts) for key, row in found.items()} == {
        "a": ("succeeded", 1),
        "later": ("pending", 1),
        "never": ("dead", 1),
        "soon": ("pending", 1),
    }
    waits = found["later"].available_at - found["soon"].available_at
    assert waits.total_seconds() > 3000
    assert found["never"].reason == "rejected"


# -- effects ----------------------------------------------------------------------


def test_what_an_atomic_one_wrote_for_a_failed_one_is_undone(
    signal: AsyncSignal,
) -> None:
    """It is called again for those that had succeeded, and for no other."""
    receiver = Recorder(answer_for_bad)
    connect(signal, receiver, batch=10, retry=ONCE)
    send(signal, "a", "bad", "c", "bad 2")
    run_pending()
    assert effects() == ["a", "c"]
    assert states() == {"succeeded": 2, "dead": 2}
    assert receiver.sizes == [4, 2]
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}


def test_answers_of_one_that_is_not_atomic_hold_as_they_are(
    signal: AsyncSignal,
) -> None:
    receiver = Recorder(answer_for_bad)
    connect(signal, receiver, batch=10, retry=ONCE, atomic=False)
    send(signal, "a", "bad", "c")
    run_pending()
    assert receiver.sizes == [3]
    assert states() == {"succeeded": 2, "dead": 1}


def test_effects_commit_together_with_the_ends_of_all(signal: AsyncSignal) -> None:
    connect(signal, Recorder(), batch=100, name=signal.name)
    send(signal, *"abcde")
    ids = ids_of(signal, signal.name)
    snapshot("default")
    with CaptureQueriesContext(connection) as queries:
        process_message(signal.name, ids, "default", seconds=math.inf)
    done = [query["sql"].split()[0] for query in queries.captured_queries]
    claim = ["BEGIN", "SELECT", "UPDATE", "COMMIT", "SELECT"]
    work = ["BEGIN", *["INSERT"] * 5, "UPDATE", "COMMIT"]
    assert done == (["WITH"] if connection.vendor == "postgresql" else claim) + work


@atomic_or_not
def test_one_poison_falls_back_to_singles(atomic: bool, signal: AsyncSignal) -> None:
    receiver = Recorder(raise_for_bad)
    connect(signal, receiver, batch=10, atomic=atomic, retry=ONCE)
    send(signal, "a", "bad", "c")
    run_pending()
    assert receiver.sizes == [3, 1, 1, 1]
    assert states() == {"succeeded": 2, "dead": 1}
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}
    assert effects() == (["a", "c"] if atomic else sorted(["a", "bad", "c"] * 2))
    assert errors() == ["one of them is bad"]


def test_a_call_that_fails_is_told(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[signals.BatchFailed] = []

    def listen(details: signals.BatchFailed, **kwargs: Any) -> None:
        told.append(details)

    signals.batch_failed.connect(listen)
    connect(signal, Recorder(raise_for_bad), batch=10, retry=ONCE, name="t.index")
    send(signal, "a", "bad")
    run_pending()
    signals.batch_failed.disconnect(listen)
    ((name, count),) = [(each.receiver, each.count) for each in told]
    assert (name, count) == ("t.index", 2)
    (line,) = [each for each in caplog.messages if each.startswith("batch_failed")]
    assert "one of them is bad" in line


def test_what_has_failed_disturbs_none_that_has_not(signal: AsyncSignal) -> None:
    receiver = Recorder(raise_for_bad)
    connect(signal, receiver, batch=10, retry=AT_ONCE)
    send(signal, "bad", "bad 2")
    run_pending()
    receiver.calls.clear()
    send(signal, "a", "b", "c")
    run_pending()
    assert ["a", "b", "c"] in [sorted(call) for call in receiver.calls]
    assert receiver.keys.count("a") == 1


def test_hooks_run_after_the_commit_of_the_batch(signal: AsyncSignal) -> None:
    done: list[str] = []

    def leave(batch: Batch, **kwargs: Any) -> Batch:
        for item in batch:
            transaction.on_commit(partial(done.append, item["key"]))
        return batch

    connect(signal, leave, batch=10)
    send(signal, *"abc")
    run_pending()
    assert sorted(done) == ["a", "b", "c"]


def test_a_swallowed_database_error_undoes_the_call(signal: AsyncSignal) -> None:
    def swallow(batch: Batch, **kwargs: Any) -> Batch:
        for item in batch:
            Effect.objects.create(what="indexed", key=item["key"])
            if bad(item):
                transaction.set_rollback(True)
        return batch

    connect(signal, swallow, batch=10, retry=ONCE)
    send(signal, "a", "bad", "c")
    run_pending()
    assert effects() == ["a", "c"]
    assert states() == {"succeeded": 2, "dead": 1}


# -- what never reaches it, and what does not share a call ---------------------------


@pytest.mark.parametrize(
    ("on_missing", "ends"),
    [
        ("reject", {"succeeded": 2, "dead": 1}),
        ("skip", {"succeeded": 2, "discarded": 1}),
        ("none", {"succeeded": 3}),
    ],
)
@atomic_or_not
def test_a_row_that_is_gone_concerns_its_delivery_alone(
    atomic: bool, on_missing: str, ends: dict[str, int], signal: AsyncSignal
) -> None:
    calls: list[list[object]] = []

    def look(batch: Batch, **kwargs: Any) -> Batch:
        calls.append([item["thing"] for item in batch])
        return batch

    connect(signal, look, batch=10, atomic=atomic, on_missing=on_missing)
    things = [Thing.objects.create(name=str(n)) for n in range(3)]
    for thing in things:
        signal.send(sender=None, thing=thing)
    things[1].delete()
    run_pending()
    (call,) = calls
    assert len(call) == (3 if on_missing == "none" else 2)
    assert states() == ends


@atomic_or_not
def test_a_damaged_payload_concerns_its_delivery_alone(
    atomic: bool, signal: AsyncSignal
) -> None:
    receiver = Recorder()
    connect(signal, receiver, batch=10, atomic=atomic)
    send(signal, *"abcd")
    first, second = Event.objects.order_by("pk")[:2]
    Event.objects.filter(pk=first.pk).update(payload="{")
    Event.objects.filter(pk=second.pk).update(headers="{")
    run_pending()
    assert receiver.sizes == [2]
    assert states() == {"succeeded": 2, "dead": 2}
    reasons = Delivery.objects.filter(state="dead").values_list("reason", flat=True)
    assert set(reasons) == {"undecodable"}


def test_signals_do_not_share_a_call(signal: AsyncSignal) -> None:
    other = AsyncSignal(name=f"tests.other_{uuid.uuid4().hex}")
    heard: list[tuple[object, int]] = []

    def look(batch: Batch, signal: object, **kwargs: Any) -> Batch:
        heard.append((signal, len(batch)))
        return batch

    for each in (signal, other):
        each.connect(look, name="t.look", weak=False, batch=10)
    for _ in range(2):
        signal.send(sender=None)
        other.send(sender=None)
    run_pending()
    assert sorted(count for _, count in heard) == [2, 2]
    assert {found for found, _ in heard} == {signal, other}


def test_a_retry_in_good_time_is_not_given_up(signal: AsyncSignal) -> None:
    receiver = Recorder()
    policy = RetryPolicy(max_attempts=1, give_up_after=0.000001)
    connect(signal, receiver, batch=10, retry=policy)
    send(signal, "a", "b")
    run_pending()
    assert states() == {"succeeded": 2}


# -- events that it sends ------------------------------------------------------------


def test_an_event_sent_inside_has_one_of_the_batch_as_its_cause(
    signal: AsyncSignal,
) -> None:
    heard = AsyncSignal(name=f"tests.heard_{uuid.uuid4().hex}")
    connect(heard, lambda sender, **kwargs: None, name="t.heard")

    def pass_on(batch: Batch, **kwargs: Any) -> Batch:
        heard.send(sender=None)
        return batch

    connect(signal, pass_on, batch=10)
    send(signal, "a", "b")
    causes = set(Event.objects.values_list("pk", flat=True))
    run_pending()
    assert Event.objects.get(signal=heard.name).cause_id in causes


def test_a_loop_is_caught_at_its_first_repetition(signal: AsyncSignal) -> None:
    name = f"t.drafts_{uuid.uuid4().hex}"

    @async_receiver(post_save, sender=Draft, name=name, batch=100, retry=ONCE)
    def save_again(batch: Batch, **kwargs: Any) -> Batch:
        for item in batch:
            item["instance"].save()
        return batch

    for n in range(3):
        Draft.objects.create(text=str(n))
    run_pending()
    post_save.disconnect(save_again, sender=Draft)
    ours = Delivery.objects.filter(receiver=name)
    assert list(ours.values_list("state", flat=True)) == ["dead"] * 3
    kinds = Attempt.objects.values_list("error_type", flat=True)
    assert set(kinds) == {SignalLoop.__name__}


# -- time ----------------------------------------------------------------------------


@atomic_or_not
def test_the_lease_of_the_whole_batch_is_extended(
    atomic: bool, signal: AsyncSignal
) -> None:
    def take_long(batch: Batch, **kwargs: Any) -> Batch:
        batch[0].delivery.extend(3600)
        return batch

    connect(signal, take_long, batch=10, atomic=atomic)
    send(signal, "a", "b")
    run_pending()
    assert states() == {"succeeded": 2}


# -- how it is connected ---------------------------------------------------------------


def batch_receiver(batch: Batch, **kwargs: Any) -> Batch:
    return batch


@pytest.mark.parametrize("most", [0, 101, True, 2.5, "10"])
def test_a_batch_has_one_to_a_hundred_deliveries(
    most: Any, signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match="from 1 to 100"):
        signal.connect(batch_receiver, batch=most)


@pytest.mark.parametrize(
    "options", [{"ordered": True}, {"group_commit": False}, {"inline": True}]
)
def test_options_that_contradict_a_batch_are_refused(
    options: dict[str, Any], signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match="batch"):
        signal.connect(batch_receiver, batch=10, **options)


def test_a_receiver_that_needs_more_than_a_batch_is_refused(
    signal: AsyncSignal,
) -> None:
    def receiver(sender: object, order: object, **kwargs: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match=r"receiver\(batch, \*\*kwargs\)"):
        signal.connect(receiver, name="t.receiver", weak=False, batch=10)


def test_the_option_is_listed(signal: AsyncSignal) -> None:
    connect(signal, batch_receiver, batch=10)
    ((described,),) = [
        found
        for name, found in operations.describe_signals().items()
        if name == signal.name
    ]
    assert described["batch"] == 10


# -- tests of projects -----------------------------------------------------------------


@atomic_or_not
def test_everything_twice_and_out_of_order(atomic: bool, signal: AsyncSignal) -> None:
    receiver = Recorder()
    connect(signal, receiver, batch=3, atomic=atomic)
    send(signal, *"abcdefg")
    handles = run_pending(twice=True, shuffle=7)
    assert {handle.state for handle in handles} == {"succeeded"}
    assert len(handles) == 7
    times = 1 if atomic else 2
    assert effects() == sorted("abcdefg" * times)
    assert max(receiver.sizes) == 3
