"""Running deliveries: effects, failures, outcomes, and what a receiver may know."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from signal_tasks import (
    AsyncSignal,
    CurrentDelivery,
    DeliveryHandle,
    NoCurrentDelivery,
    Reject,
    Retry,
    RetryPolicy,
    current_delivery,
)
from signal_tasks.delivery import work_off
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Effect, Thing

pytestmark = pytest.mark.django_db

AT_ONCE = RetryPolicy(max_attempts=3, backoff=0, jitter=False)
atomic_or_not = pytest.mark.parametrize("atomic", [True, False])


def connect(signal: AsyncSignal, function: Callable[..., Any], **options: Any) -> None:
    name = f"t.{function.__name__}_{uuid.uuid4().hex}"
    signal.connect(function, weak=False, **({"name": name} | options))


def send(signal: AsyncSignal, **kwargs: Any) -> DeliveryHandle:
    ((_, handle),) = signal.send(sender=None, **kwargs)
    assert isinstance(handle, DeliveryHandle)
    return handle


def run(handle: DeliveryHandle) -> DeliveryHandle:
    run_pending()
    return handle.refresh()


def row(handle: DeliveryHandle) -> Delivery:
    return Delivery._base_manager.get(pk=handle.id)


def raises(error: BaseException) -> Callable[..., Any]:
    def failing(sender: object, **kwargs: Any) -> None:
        Effect.objects.create(what="before the error")
        raise error

    return failing


# -- effects ----------------------------------------------------------------------


@atomic_or_not
def test_a_receiver_that_returns_has_succeeded(
    atomic: bool, signal: AsyncSignal
) -> None:
    calls = listen(signal, atomic=atomic)
    handle = run(send(signal, number=1))
    assert (handle.state, handle.attempts, handle.reason) == ("succeeded", 1, "")
    assert row(handle).finished_at is not None
    assert len(calls) == 1
    assert run_pending() == []


def test_what_a_failed_atomic_receiver_wrote_is_undone(signal: AsyncSignal) -> None:
    connect(signal, raises(ValueError("on purpose")))
    handle = run(send(signal))
    assert handle.state == "pending"
    assert not Effect.objects.exists()


def test_what_a_failed_receiver_outside_of_transactions_did_stays(
    signal: AsyncSignal,
) -> None:
    connect(signal, raises(ValueError("on purpose")), atomic=False)
    run(send(signal))
    assert Effect.objects.count() == 1


def test_events_of_a_failed_atomic_receiver_are_undone_too(
    signal: AsyncSignal,
) -> None:
    second = AsyncSignal(name="t.undone")
    listen(second)

    def send_and_fail(sender: object, **kwargs: Any) -> None:
        second.send(sender=None)
        raise ValueError

    connect(signal, send_and_fail)
    run(send(signal))
    assert not Event.objects.filter(signal="t.undone").exists()


@pytest.mark.django_db(transaction=True)
@atomic_or_not
def test_only_an_atomic_receiver_runs_in_a_transaction(
    atomic: bool, signal: AsyncSignal
) -> None:
    seen = []

    def look(sender: object, **kwargs: Any) -> None:
        seen.append(connection.in_atomic_block)

    connect(signal, look, atomic=atomic)
    signal.send(sender=None)
    run_pending()
    assert seen == [atomic]


@atomic_or_not
def test_while_it_runs_its_attempt_has_been_counted(
    atomic: bool, signal: AsyncSignal
) -> None:
    seen = []

    def look(sender: object, **kwargs: Any) -> None:
        delivery = Delivery.objects.get()
        seen.append((delivery.state, delivery.attempts, delivery.lease))

    connect(signal, look, atomic=atomic)
    signal.send(sender=None)
    run_pending()
    assert seen == [("running", 1, 1)]


# -- failures and retries ---------------------------------------------------------


@atomic_or_not
def test_a_failure_is_retried_after_the_delay_of_its_policy(
    atomic: bool, signal: AsyncSignal
) -> None:
    policy = RetryPolicy(backoff=100, factor=3, jitter=False)
    connect(signal, raises(ValueError()), retry=policy, atomic=atomic)
    before = timezone.now()
    handle = run(send(signal))
    assert (handle.state, handle.attempts) == ("pending", 1)
    delay = row(handle).available_at - before
    assert timedelta(seconds=99) < delay < timedelta(seconds=110)
    assert run_pending() == []


def test_the_policy_of_the_project_holds_where_a_receiver_has_none(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"RETRY": RetryPolicy(max_attempts=1)}
    connect(signal, raises(ValueError()))
    assert run(send(signal)).state == "dead"


def test_the_delay_is_drawn_by_full_jitter(signal: AsyncSignal) -> None:
    policy = RetryPolicy(backoff=1000, max_delay=1000)
    connect(signal, raises(ValueError()), retry=policy)
    before = timezone.now()
    signal.send_many(sender=None, items=[{}] * 60)
    run_pending()
    times = Delivery.objects.values_list("available_at", flat=True)
    delays = [(time - before).total_seconds() for time in times]
    assert all(-1 < delay < 1010 for delay in delays)
    assert min(delays) < 300 < 700 < max(delays)


@atomic_or_not
def test_the_last_failure_exhausts_it(atomic: bool, signal: AsyncSignal) -> None:
    connect(signal, raises(ValueError("no")), retry=AT_ONCE, atomic=atomic)
    handle = send(signal)
    states = [(run(handle).state, handle.attempts) for _ in range(3)]
    assert states == [("pending", 1), ("pending", 2), ("dead", 3)]
    assert handle.reason == "exhausted"
    assert run_pending() == []


def test_every_failed_attempt_is_recorded(signal: AsyncSignal) -> None:
    connect(signal, raises(ValueError("the reason")), retry=AT_ONCE)
    handle = send(signal)
    for _ in range(3):
        run_pending()
    attempts = Attempt.objects.filter(delivery_id=handle.id).order_by("pk")
    assert [(a.number, a.outcome) for a in attempts] == [
        (1, "retried"),
        (2, "retried"),
        (3, "dead"),
    ]
    for attempt in attempts:
        assert (attempt.error_type, attempt.error) == ("ValueError", "the reason")
        assert "in failing" in attempt.traceback
        assert "the reason" in attempt.traceback
        assert attempt.worker
        assert attempt.seconds is not None


def test_it_succeeds_when_a_later_attempt_does(signal: AsyncSignal) -> None:
    def second_time(sender: object, **kwargs: Any) -> None:
        if current_delivery().attempt == 1:
            raise ValueError
        Effect.objects.create(what="done")

    connect(signal, second_time, retry=AT_ONCE)
    handle = send(signal)
    assert run(handle).state == "pending"
    assert run(handle).state == "succeeded"
    assert handle.attempts == 2
    assert Effect.objects.count() == 1


OUTCOMES: dict[str, tuple[dict[str, Any], BaseException, str, str]] = {
    "Reject": ({}, Reject("never"), "dead", "rejected"),
    "give_up_on": ({"give_up_on": (KeyError,)}, KeyError("x"), "dead", "rejected"),
    "not in retry_on": ({"retry_on": (OSError,)}, KeyError("x"), "dead", "rejected"),
    "in retry_on": ({"retry_on": (OSError,)}, TimeoutError(), "pending", ""),
    "one attempt": ({"max_attempts": 1}, ValueError(), "dead", "exhausted"),
    "too late": ({"give_up_after": 1e-9}, ValueError(), "dead", "exhausted"),
    "in time": ({"give_up_after": 1e9}, ValueError(), "pending", ""),
    "sys.exit()": ({}, SystemExit(1), "pending", ""),
}


@atomic_or_not
@pytest.mark.parametrize("what", OUTCOMES)
def test_the_policy_and_the_error_decide_what_becomes_of_it(
    what: str, atomic: bool, signal: AsyncSignal
) -> None:
    policy, error, state, reason = OUTCOMES[what]
    connect(signal, raises(error), retry=RetryPolicy(**policy), atomic=atomic)
    handle = run(send(signal))
    assert (handle.state, handle.reason, handle.attempts) == (state, reason, 1)
    assert Attempt.objects.get().error_type == type(error).__name__


@pytest.mark.parametrize("after", [500, timedelta(seconds=500)])
def test_a_receiver_may_ask_to_be_run_again_later(
    after: Any, signal: AsyncSignal
) -> None:
    connect(signal, raises(Retry("not yet", after=after)))
    before = timezone.now()
    handle = run(send(signal))
    assert (handle.state, handle.attempts) == ("pending", 1)
    delay = row(handle).available_at - before
    assert timedelta(seconds=499) < delay < timedelta(seconds=510)
    assert Attempt.objects.get().error == "not yet"


def test_asking_again_spends_attempts(signal: AsyncSignal) -> None:
    connect(signal, raises(Retry(after=0)), retry=AT_ONCE)
    handle = send(signal)
    assert [run(handle).state for _ in range(3)] == ["pending", "pending", "dead"]
    assert handle.reason == "exhausted"


def test_unless_it_says_that_it_does_not_count(signal: AsyncSignal) -> None:
    seen = []

    def again(sender: object, **kwargs: Any) -> None:
        seen.append(current_delivery().attempt)
        if len(seen) < 6:
            raise Retry(after=0, counts=False)

    connect(signal, again, retry=AT_ONCE)
    handle = send(signal)
    for _ in range(6):
        run_pending()
    assert seen == [1] * 6
    assert (handle.refresh().state, handle.attempts) == ("succeeded", 1)


@pytest.mark.parametrize("after", [-1, float("nan"), timedelta(days=-1)])
def test_a_wait_that_makes_no_sense_is_refused_where_it_is_written(after: Any) -> None:
    with pytest.raises(ValueError, match="Retry"):
        Retry(after=after)


def test_a_wait_of_ages_is_kept_within_what_databases_can_tell(
    signal: AsyncSignal,
) -> None:
    connect(signal, raises(Retry(after=1e300)))
    assert run(send(signal)).state == "pending"
    assert row(send(signal)).available_at.year < 2300


# -- what is recorded -------------------------------------------------------------


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its name")


RECORDED: dict[str, tuple[BaseException, str]] = {
    "NUL": (ValueError("a\0b"), "a\\x00b"),
    "a surrogate": (ValueError("a\ud800b"), "a\\ud800b"),
    "no text": (UnspeakableError(), "(the error cannot be shown)"),
    "markup": (ValueError("<script>alert(1)</script>"), "<script>alert(1)</script>"),
}


@pytest.mark.parametrize("what", RECORDED)
def test_any_error_can_be_recorded(what: str, signal: AsyncSignal) -> None:
    error, text = RECORDED[what]
    connect(signal, raises(error))
    assert run(send(signal)).state == "pending"
    attempt = Attempt.objects.get()
    assert attempt.error == text
    assert "\0" not in attempt.traceback


def test_what_is_recorded_is_bounded_and_keeps_the_end(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"MAX_TRACEBACK_CHARS": 500}
    connect(signal, raises(ValueError("x" * 100_000 + "the end")))
    run(send(signal))
    attempt = Attempt.objects.get()
    assert len(attempt.error) <= 2000
    assert len(attempt.traceback) <= 500
    assert attempt.traceback.rstrip().endswith("the end")


def test_an_error_with_a_very_long_type_name_is_recorded(signal: AsyncSignal) -> None:
    error = type("E" * 400, (Exception,), {})()
    connect(signal, raises(error))
    run(send(signal))
    assert Attempt.objects.get().error_type == "E" * 255


# -- broken transactions ----------------------------------------------------------


def swallow(sender: object, taken: int, **kwargs: Any) -> None:
    Effect.objects.create(what="before")
    with suppress(IntegrityError), transaction.atomic(savepoint=False):
        Thing.objects.create(pk=taken, name="clash")


def mark(sender: object, **kwargs: Any) -> None:
    Effect.objects.create(what="before")
    transaction.set_rollback(True)


@pytest.mark.parametrize("function", [swallow, mark])
def test_a_receiver_that_leaves_its_transaction_broken_has_failed(
    function: Callable[..., Any], signal: AsyncSignal
) -> None:
    taken = Thing.objects.create(name="first")
    connect(signal, function)
    handle = run(send(signal, taken=taken.pk))
    assert (handle.state, handle.attempts) == ("pending", 1)
    assert not Effect.objects.exists()
    assert "atomic() block of its own" in Attempt.objects.get().error


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite goes on after it")
def test_so_has_one_that_hides_an_error_from_django_but_not_from_the_database(
    signal: AsyncSignal,
) -> None:
    taken = Thing.objects.create(name="first")

    def hide(sender: object, **kwargs: Any) -> None:
        Effect.objects.create(what="before")
        with suppress(IntegrityError):
            Thing.objects.create(pk=taken.pk, name="clash")

    connect(signal, hide)
    assert run(send(signal)).state == "pending"
    assert not Effect.objects.exists()


def test_an_error_in_a_block_of_its_own_harms_nothing(signal: AsyncSignal) -> None:
    taken = Thing.objects.create(name="first")

    def careful(sender: object, **kwargs: Any) -> None:
        try:
            with transaction.atomic():
                Thing.objects.create(pk=taken.pk, name="clash")
        except IntegrityError:
            Effect.objects.create(what="after")

    connect(signal, careful)
    assert run(send(signal)).state == "succeeded"
    assert Effect.objects.count() == 1


def test_a_database_error_of_a_receiver_is_its_failure(signal: AsyncSignal) -> None:
    taken = Thing.objects.create(name="first")

    def clash(sender: object, **kwargs: Any) -> None:
        Thing.objects.create(pk=taken.pk, name="clash")

    connect(signal, clash, retry=AT_ONCE)
    handle = send(signal)
    for _ in range(3):
        run_pending()
    assert (handle.refresh().state, handle.reason) == ("dead", "exhausted")
    assert {a.error_type for a in Attempt.objects.all()} == {"IntegrityError"}


# -- groups -----------------------------------------------------------------------


def message(signal: AsyncSignal, name: str) -> list[str]:
    rows = Delivery.objects.filter(receiver=name)
    return [str(pk) for pk in rows.order_by("pk").values_list("pk", flat=True)]


@atomic_or_not
@pytest.mark.parametrize("group_commit", [True, False])
def test_a_poisoned_delivery_harms_only_itself(
    group_commit: bool, atomic: bool, signal: AsyncSignal
) -> None:
    def note(sender: object, number: int, **kwargs: Any) -> None:
        Effect.objects.create(what=str(number))
        if number == 3:
            raise ValueError

    connect(signal, note, name="t.note", group_commit=group_commit, atomic=atomic)
    signal.send_many(sender=None, items=[{"number": n} for n in range(25)])
    event = Event.objects.order_by("pk")[7]
    Event.objects.filter(pk=event.pk).update(payload="{garbage")
    work_off("t.note", message(signal, "t.note"), "default")
    states = list(Delivery.objects.order_by("pk").values_list("state", "reason"))
    assert states[3] == ("pending", "")
    assert states[7] == ("dead", "undecodable")
    assert states.count(("succeeded", "")) == 23
    expected = {str(n) for n in range(25)} - ({"3", "7"} if atomic else {"7"})
    assert sorted(e.what for e in Effect.objects.all()) == sorted(expected)


def test_a_broken_transaction_in_a_group_harms_only_its_own(
    signal: AsyncSignal,
) -> None:
    def note(sender: object, number: int, **kwargs: Any) -> None:
        Effect.objects.create(what=str(number))
        if number == 2:
            transaction.set_rollback(True)

    connect(signal, note, name="t.broken_note")
    signal.send_many(sender=None, items=[{"number": n} for n in range(5)])
    work_off("t.broken_note", message(signal, "t.broken_note"), "default")
    assert sorted(e.what for e in Effect.objects.all()) == ["0", "1", "3", "4"]


def test_a_message_that_comes_again_runs_nothing_again(signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.again")
    signal.send_many(sender=None, items=[{"n": n} for n in range(5)])
    ids = message(signal, "t.again")
    work_off("t.again", [*ids, *ids], "default")
    report = work_off("t.again", ids, "default")
    assert len(calls) == 5
    assert report.not_owed == 5


# -- poison: payload, row, receiver -----------------------------------------------


def test_a_delivery_whose_event_was_deleted_harms_only_itself(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.event_gone")
    signal.send_many(sender=None, items=[{"n": n} for n in range(3)])
    middle = Event.objects.order_by("pk")[1]
    Event.objects.filter(pk=middle.pk)._raw_delete("default")
    work_off("t.event_gone", message(signal, "t.event_gone"), "default")
    assert Attempt.objects.get().error == "its event was deleted"
    assert Delivery.objects.get(event_id=middle.pk).reason == "undecodable"
    assert Delivery.objects.filter(state="succeeded").count() == 2


@pytest.mark.parametrize(
    "payload",
    ["", "{", "null", '{"v":99,"sender":null,"kwargs":{}}', '{"v":1,"kwargs":7}'],
)
def test_a_payload_that_cannot_be_read_is_a_dead_letter(
    payload: str, signal: AsyncSignal
) -> None:
    calls = listen(signal)
    handle = send(signal)
    Event.objects.update(payload=payload)
    run(handle)
    assert (handle.state, handle.reason) == ("dead", "undecodable")
    assert Attempt.objects.get().error_type == "DecodeError"
    assert calls == []


def test_by_default_a_missing_row_makes_a_dead_letter(signal: AsyncSignal) -> None:
    calls = listen(signal)
    thing = Thing.objects.create(name="gone")
    handle = send(signal, thing=thing)
    thing.delete()
    run(handle)
    assert (handle.state, handle.reason) == ("dead", "missing")
    assert "Thing" in Attempt.objects.get().error
    assert calls == []


def test_a_missing_row_may_be_skipped(signal: AsyncSignal) -> None:
    calls = listen(signal, on_missing="skip")
    thing = Thing.objects.create(name="gone")
    handle = send(signal, thing=thing)
    thing.delete()
    run(handle)
    assert (handle.state, handle.reason) == ("discarded", "missing")
    assert calls == []


def test_a_missing_row_may_arrive_as_none(signal: AsyncSignal) -> None:
    calls = listen(signal, on_missing="none")
    thing = Thing.objects.create(name="gone")
    handle = send(signal, thing=thing, other=1)
    thing.delete()
    assert run(handle).state == "succeeded"
    assert calls == [{"sender": None, "thing": None, "other": 1}]


def test_a_row_that_the_receiver_itself_does_not_find_is_an_ordinary_failure(
    signal: AsyncSignal,
) -> None:
    def seek(sender: object, **kwargs: Any) -> None:
        Thing.objects.get(name="nowhere")

    connect(signal, seek)
    assert run(send(signal)).state == "pending"
    assert Attempt.objects.get().error_type == "Thing.DoesNotExist"


def test_a_delivery_whose_receiver_is_gone_waits_and_runs_when_it_is_back(
    signal: AsyncSignal,
) -> None:
    calls: list[object] = []

    def hear(sender: object, **kwargs: Any) -> None:
        calls.append(sender)

    signal.connect(hear, name="t.comes_back")
    handle = send(signal)
    signal.disconnect(hear)
    assert run_pending() == []
    assert handle.refresh().state == "pending"
    signal.connect(hear, name="t.comes_back")
    assert run(handle).state == "succeeded"


def test_a_renamed_receiver_runs_what_its_alias_is_owed(signal: AsyncSignal) -> None:
    def old(sender: object, **kwargs: Any) -> None: ...

    signal.connect(old, name="t.old_name")
    handle = send(signal)
    signal.disconnect(old)
    calls = listen(signal, name="t.new_name", aliases=["t.old_name"])
    assert run(handle).state == "succeeded"
    assert len(calls) == 1


# -- messages of strangers --------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [
        None,
        "text",
        7,
        {"a": 1},
        [],
        [None, 3, "x", [], {}, "0" * 32, "' OR 1=1 --"],
        [["nested"]],
        [str(uuid.uuid4())],
        ["\0"],
    ],
)
def test_a_forged_message_runs_nothing(ids: Any, signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.forged")
    handle = send(signal)
    work_off("t.forged", ids, "default")
    assert calls == []
    assert handle.refresh().state == "pending"


@pytest.mark.parametrize("database", [None, "nowhere", 7, ["default"], "replica"])
def test_a_message_about_another_database_runs_nothing(
    database: Any, signal: AsyncSignal
) -> None:
    calls = listen(signal, name="t.elsewhere")
    handle = send(signal)
    report = work_off("t.elsewhere", [str(handle.id)], database)
    assert report.not_owed == 1
    assert calls == []


def test_a_message_for_a_receiver_that_nobody_connected_imports_nothing(
    signal: AsyncSignal,
) -> None:
    report = work_off("os.system", [str(uuid.uuid4())], "default")
    assert str(report) == "1 not owed"


def test_a_receiver_cannot_be_made_to_run_the_delivery_of_another(
    signal: AsyncSignal,
) -> None:
    mine = listen(signal, name="t.mine")
    other = AsyncSignal(name="t.not_mine")
    listen(other, name="t.theirs")
    handle = send(other)
    report = work_off("t.mine", [str(handle.id)], "default")
    assert report.not_owed == 1
    assert mine == []
    assert handle.refresh().state == "pending"


def test_what_is_not_due_yet_is_not_run_whoever_asks(signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.later")
    ((_, handle),) = signal.using(delay=60).send(sender=None)
    work_off("t.later", [str(handle.id)], "default")
    assert calls == []
    assert handle.refresh().attempts == 0


@pytest.mark.parametrize("verb", ["discard", "end"])
def test_what_has_ended_is_not_run_again(verb: str, signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.ended")
    handle = send(signal)
    if verb == "discard":
        Delivery.objects.all().discard()
    else:
        run_pending()
    before = len(calls)
    work_off("t.ended", [str(handle.id)], "default")
    assert len(calls) == before


# -- fencing ----------------------------------------------------------------------


@atomic_or_not
def test_a_worker_that_lost_its_delivery_cannot_write_its_end(
    atomic: bool, signal: AsyncSignal
) -> None:
    def lose(sender: object, **kwargs: Any) -> None:
        Delivery.objects.filter(pk=current_delivery().id).update(lease=7)

    connect(signal, lose, name="t.lose", atomic=atomic)
    handle = send(signal)
    report = work_off("t.lose", [str(handle.id)], "default")
    assert report.fenced == 1
    assert handle.refresh().state == "running"


# -- what a receiver may know -----------------------------------------------------


def test_a_receiver_knows_its_delivery(signal: AsyncSignal) -> None:
    seen: list[CurrentDelivery] = []

    def look(sender: object, **kwargs: Any) -> None:
        seen.append(current_delivery())
        raise ValueError

    policy = RetryPolicy(max_attempts=5, backoff=0)
    connect(signal, look, name="t.look", retry=policy)
    ((_, handle),) = signal.using(headers={"trace": "abc"}).send(sender=None)
    run_pending()
    run_pending()
    first, second = seen
    assert (first.id, first.event_id) == (handle.id, handle.event_id)
    assert (first.signal, first.receiver) == (signal.name, "t.look")
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.max_attempts == 5
    assert first.idempotency_key == second.idempotency_key
    assert isinstance(first.idempotency_key, str)
    assert first.headers == {"trace": "abc"}
    assert first.database == "default"
    assert abs(first.sent_at - timezone.now()) < timedelta(minutes=1)


def test_two_receivers_of_an_event_have_different_idempotency_keys(
    signal: AsyncSignal,
) -> None:
    keys = []

    def one(sender: object, **kwargs: Any) -> None:
        keys.append(current_delivery().idempotency_key)

    def two(sender: object, **kwargs: Any) -> None:
        keys.append(current_delivery().idempotency_key)

    connect(signal, one)
    connect(signal, two)
    signal.send(sender=None)
    run_pending()
    assert len(set(keys)) == 2


def test_outside_of_a_receiver_there_is_no_current_delivery(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    send(signal)
    run_pending()
    with pytest.raises(NoCurrentDelivery):
        current_delivery()
    with pytest.raises(LookupError):
        current_delivery()


def test_an_inline_receiver_has_no_current_delivery(signal: AsyncSignal) -> None:
    def inline(sender: object, **kwargs: Any) -> None:
        current_delivery()

    signal.connect(inline, inline=True)
    with pytest.raises(NoCurrentDelivery):
        signal.send(sender=None)


@pytest.mark.django_db(transaction=True)
@atomic_or_not
def test_a_receiver_may_extend_its_lease(atomic: bool, signal: AsyncSignal) -> None:
    def work_long(sender: object, **kwargs: Any) -> None:
        current_delivery().extend(5000)
        until = Delivery.objects.get().relay_at
        Effect.objects.create(what=str((until - timezone.now()).total_seconds()))

    connect(signal, work_long, atomic=atomic)
    handle = run(send(signal))
    assert handle.state == "succeeded"
    assert 4900 < float(Effect.objects.get().what) < 5010


# -- async receivers --------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@atomic_or_not
def test_an_async_receiver_is_awaited(atomic: bool, signal: AsyncSignal) -> None:
    async def note(sender: object, number: int, **kwargs: Any) -> None:
        key = current_delivery().idempotency_key
        await Effect.objects.acreate(what=str(number), key=key)

    connect(signal, note, atomic=atomic)
    handle = run(send(signal, number=3))
    assert handle.state == "succeeded"
    effect = Effect.objects.get()
    assert (effect.what, effect.key) == ("3", str(handle.id))


@pytest.mark.django_db(transaction=True)
def test_what_a_failed_async_receiver_wrote_is_undone(signal: AsyncSignal) -> None:
    async def fail(sender: object, **kwargs: Any) -> None:
        await Effect.objects.acreate(what="undone")
        raise ValueError("in async code")

    connect(signal, fail)
    assert run(send(signal)).state == "pending"
    assert not Effect.objects.exists()
    assert Attempt.objects.get().error == "in async code"


class AsyncCallable:
    async def __call__(self, sender: object, **kwargs: Any) -> None:
        await Effect.objects.acreate(what="from an object")


@pytest.mark.django_db(transaction=True)
def test_a_callable_object_may_be_async(signal: AsyncSignal) -> None:
    signal.connect(AsyncCallable(), weak=False, name="t.async_callable")
    assert run(send(signal)).state == "succeeded"
    assert Effect.objects.get().what == "from an object"
