"""Calls of batch receivers that fail, are lost or too late; and what shares no call."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from celery.exceptions import WorkerShutdown
from django.db import connection, connections, transaction
from django.db.models import F

from signal_tasks import AsyncSignal, BatchItem, Breaker, Coalesce, LeaseLost
from signal_tasks.contrib.requests import in_request, request_id
from signal_tasks.delivery.message import process_message
from signal_tasks.delivery.result import MessageResult
from signal_tasks.interrupt import ReleaseRequested, SoftTimeLimitExceeded
from signal_tasks.models import Attempt, Delivery, Gate, HeldDelivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import atomic_or_not, connect, ids_of
from tests.signal_tasks.delivery.test_batch_receivers import (
    ONCE,
    Recorder,
    effects,
    errors,
    raise_for_bad,
    send,
    states,
)
from tests.signal_tasks.delivery.test_database_faults import DEADLOCK, END_SESSION
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)
server = pytest.mark.skipif(connection.vendor == "sqlite", reason="needs a server")

Batch = Sequence[BatchItem]


def message(signal: AsyncSignal, seconds: float = math.inf) -> MessageResult:
    """Run all that is pending for the receiver of that name in one message."""
    ids = ids_of(signal, signal.name)
    return process_message(signal.name, ids, "default", seconds=seconds)


def for_several(act: Callable[[Batch], object]) -> Callable[[Batch], object]:
    """Act in calls for several deliveries; answer that all have succeeded."""

    def answer(batch: Batch) -> object:
        if len(batch) > 1:
            act(batch)
        return batch

    return answer


def raises(error: BaseException) -> Callable[[Batch], object]:
    def act(batch: Batch) -> object:
        raise error

    return act


def execute(statements: dict[str, str]) -> Callable[[Batch], object]:
    """Have the server execute its statement of these."""

    def act(batch: Batch) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statements[connection.vendor])

    return act


def rows() -> set[tuple[str, int, bool]]:
    found = Delivery.objects.values_list("state", "attempts", "isolated")
    return {(state, attempts, isolated) for state, attempts, isolated in found}


# -- time -----------------------------------------------------------------------------


@atomic_or_not
def test_what_cannot_be_run_alone_in_time_is_isolated(
    atomic: bool, signal: AsyncSignal
) -> None:
    """None of it is in a batch again, or the call would fail again."""
    receiver = Recorder(for_several(raises(ValueError("one is bad"))))
    connect(signal, receiver, batch=10, atomic=atomic, name=signal.name)
    send(signal, *"abc")
    result = message(signal, seconds=0)
    assert str(result) == "3 isolated"
    assert rows() == {("pending", 0, True)}
    assert message(signal).outcomes == []
    for pk in ids_of(signal, signal.name):
        process_message(signal.name, [pk], "default", seconds=0)
    assert receiver.sizes == [3, 1, 1, 1]
    assert states() == {"succeeded": 3}
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}


@atomic_or_not
def test_after_a_call_that_took_too_long_each_has_a_message_of_its_own(
    atomic: bool, signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Recorder(for_several(raises(SoftTimeLimitExceeded())))
    connect(signal, receiver, batch=10, atomic=atomic, timeout=30, name=signal.name)
    send(signal, *"abc")
    message(signal)
    assert receiver.sizes == [3]
    assert rows() == {("pending", 0, True)}
    kept = set(Attempt.objects.values_list("consequence", "error_type"))
    assert kept == {("released", "SoftTimeLimitExceeded")}
    assert effects() == ([] if atomic else list("abc"))
    (line,) = [each for each in caplog.messages if each.startswith("batch_failed")]
    assert "count=3" in line


@atomic_or_not
def test_a_call_that_is_interrupted_is_released_and_spends_no_attempt(
    atomic: bool, signal: AsyncSignal
) -> None:
    receiver = Recorder(raises(ReleaseRequested()))
    connect(signal, receiver, batch=10, atomic=atomic, name=signal.name)
    send(signal, *"abc")
    assert str(message(signal)) == "3 released"
    assert rows() == {("pending", 0, False)}
    assert not Attempt.objects.exists()
    assert effects() == ([] if atomic else list("abc"))


@atomic_or_not
@pytest.mark.parametrize("batch", [10, None])
def test_what_a_stop_from_outside_ends_is_released_at_once(
    atomic: bool, batch: int | None, signal: AsyncSignal
) -> None:
    """Nothing of it waits until its lease is over."""

    def stop(**kwargs: Any) -> None:
        raise WorkerShutdown

    options = {"batch": batch} if batch else {}
    connect(signal, stop, atomic=atomic, name=signal.name, **options)
    send(signal, *"abc")
    with pytest.raises(WorkerShutdown):
        message(signal)
    assert rows() == {("pending", 0, False)}


# -- the database ---------------------------------------------------------------------


@server
@pytest.mark.parametrize("statements", [DEADLOCK, END_SESSION])
def test_after_a_lost_transaction_each_has_one_of_its_own(
    statements: dict[str, str], signal: AsyncSignal
) -> None:
    receiver = Recorder(for_several(execute(statements)))
    connect(signal, receiver, batch=10, retry=ONCE)
    send(signal, *"abc")
    run_pending()
    assert receiver.sizes == [3, 1, 1, 1]
    assert states() == {"succeeded": 3}
    assert effects() == list("abc")


@atomic_or_not
def test_after_a_closed_connection_each_is_run_alone(
    atomic: bool, signal: AsyncSignal
) -> None:
    receiver = Recorder(for_several(lambda batch: connections["default"].close()))
    connect(signal, receiver, batch=10, retry=ONCE, atomic=atomic)
    send(signal, *"abc")
    run_pending()
    assert states() == {"succeeded": 3}
    assert effects() == list("abc")


def test_one_that_this_worker_has_lost_is_fenced_alone(signal: AsyncSignal) -> None:
    def lose(batch: Batch) -> object:
        Delivery.objects.filter(pk=batch[0].id).update(lease=F("lease") - 1)
        with pytest.raises(LeaseLost):
            batch[1].delivery.extend(60)
        return batch

    connect(signal, Recorder(lose), batch=10, atomic=False, name=signal.name)
    send(signal, *"abc")
    assert str(message(signal)) == "2 succeeded, 1 fenced"
    assert states() == {"succeeded": 2, "running": 1}


# -- limits ---------------------------------------------------------------------------


@atomic_or_not
def test_a_breaker_opens_when_they_fail_alone(
    atomic: bool, signal: AsyncSignal
) -> None:
    receiver = Recorder(raises(ConnectionError("down")))
    connect(
        signal,
        receiver,
        batch=10,
        atomic=atomic,
        breaker=Breaker(failures=2),
        name=signal.name,
    )
    send(signal, *"abcde")
    message(signal)
    assert receiver.sizes == [5, 1, 1]
    assert Gate.objects.get(pk=signal.name).breaker == "open"
    attempts = Delivery.objects.values_list("attempts", flat=True)
    assert sorted(attempts) == [0, 0, 0, 1, 1]


def test_a_batch_takes_one_place(signal: AsyncSignal) -> None:
    receiver = Recorder()
    connect(signal, receiver, batch=3, max_concurrency=1, name=signal.name)
    send(signal, *"abcdef")
    message(signal)
    assert receiver.sizes == [3, 3]


def test_a_rate_counts_each_delivery_of_a_batch(signal: AsyncSignal) -> None:
    receiver = Recorder()
    connect(signal, receiver, batch=10, rate_limit="2/h", name=signal.name)
    send(signal, *"abcdef")
    message(signal)
    assert sum(receiver.sizes) <= 2
    assert HeldDelivery.objects.count() == 6 - sum(receiver.sizes)


def test_what_was_merged_is_an_item_like_others(signal: AsyncSignal) -> None:
    receiver = Recorder()
    merge = Coalesce(key=lambda sender, key, **_: key[0], within=0.001, max_wait=0.001)
    connect(signal, receiver, batch=10, coalesce=merge)
    for key in ("a1", "b1"):
        signal.send(sender=None, key=key)
    while states() != {"succeeded": 2}:
        run_pending()
    assert sorted(receiver.keys) == ["a1", "b1"]


# -- the context of the sender --------------------------------------------------------

color: ContextVar[str | None] = ContextVar("color", default=None)


class Color:
    """Carries a colour."""

    name = "color"

    def capture(self) -> str | None:
        return color.get()

    @contextmanager
    def restore(self, value: str) -> Iterator[None]:
        token = color.set(value)
        try:
            yield
        finally:
            color.reset(token)


@pytest.fixture
def carried(settings: Any) -> None:
    hooks = [f"{__name__}.Color", "signal_tasks.contrib.requests.RequestId"]
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": hooks}


@pytest.mark.usefixtures("carried")
@atomic_or_not
def test_deliveries_of_different_contexts_share_no_call(
    atomic: bool, signal: AsyncSignal
) -> None:
    seen: list[tuple[str | None, str]] = []

    def look(batch: Batch, **kwargs: Any) -> Batch:
        seen.append((color.get(), "".join(item["key"] for item in batch)))
        return batch

    connect(signal, look, batch=10, atomic=atomic)
    for each in ("red", "blue"):
        token = color.set(each)
        send(signal, each[0], each[1])
        color.reset(token)
    send(signal, "x", "y")
    run_pending()
    expected = [(None, "xy"), ("blue", "bl"), ("red", "er")]
    assert sorted((str(a), "".join(sorted(b))) for a, b in seen) == sorted(
        (str(a), b) for a, b in expected
    )


@pytest.mark.usefixtures("carried")
def test_requests_do_share_one_and_each_item_knows_its_own(
    signal: AsyncSignal,
) -> None:
    seen: list[tuple[str | None, set[str]]] = []

    def look(batch: Batch, **kwargs: Any) -> Batch:
        ids = {item.delivery.correlation_id for item in batch}
        seen.append((request_id(), ids))
        return batch

    connect(signal, look, batch=10)
    for each in ("r1", "r2"):
        with in_request(each):
            signal.send(sender=None)
    run_pending()
    assert seen == [(None, {"r1", "r2"})]


def test_what_a_batch_of_one_correlation_sends_has_the_same(
    signal: AsyncSignal,
) -> None:
    heard = AsyncSignal(name=f"tests.heard_{uuid.uuid4().hex}")
    found: list[str] = []

    def hear(batch: Batch, **kwargs: Any) -> Batch:
        found.extend(item.delivery.correlation_id for item in batch)
        return batch

    def pass_on(batch: Batch, **kwargs: Any) -> Batch:
        heard.send(sender=None)
        return batch

    connect(signal, pass_on, batch=10)
    connect(heard, hear, batch=10)
    headers = {"correlation_id": "import 7"}
    for _ in range(2):
        signal.using(headers=headers).send(sender=None)
    run_pending()
    assert found == ["import 7"]


# -- in tests and eager tasks -----------------------------------------------------------


def test_eager_tasks_make_a_batch_of_what_is_sent_together(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True
    receiver = Recorder()
    connect(signal, receiver, batch=10)
    with transaction.atomic():
        send(signal, *"abc")
        assert not receiver.calls
    assert receiver.sizes == [3]
    assert states() == {"succeeded": 3}


@pytest.mark.django_db(transaction=False)
@atomic_or_not
def test_it_falls_back_inside_of_a_test_case_too(
    atomic: bool, signal: AsyncSignal
) -> None:
    receiver = Recorder(raise_for_bad)
    connect(signal, receiver, batch=10, atomic=atomic, retry=ONCE)
    send(signal, "a", "bad", "c")
    run_pending()
    assert receiver.sizes == [3, 1, 1, 1]
    assert states() == {"succeeded": 2, "dead": 1}
    assert errors() == ["one of them is bad"]
    assert Effect.objects.count() == (2 if atomic else 6)


def test_a_test_runs_what_is_isolated(signal: AsyncSignal) -> None:
    receiver = Recorder()
    connect(signal, receiver, batch=10)
    send(signal, *"abcd")
    first = Delivery.objects.earliest("pk")
    Delivery.objects.filter(pk=first.pk).update(isolated=True)
    run_pending()
    assert sorted(receiver.sizes) == [1, 3]
    assert states() == {"succeeded": 4}
