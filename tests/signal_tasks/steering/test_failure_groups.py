"""Every failed attempt is counted in the group of its cause."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, BatchItem, Reject, Retry, RetryPolicy
from signal_tasks.db import failures
from signal_tasks.db.failures import Failure
from signal_tasks.delivery.message import process_message
from signal_tasks.fingerprints import Fingerprint
from signal_tasks.models import Attempt, Delivery, FailureGroup
from signal_tasks.relay.recovery import recover
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import AT_ONCE, atomic_or_not, connect, send
from tests.signal_tasks.relay.steps import lose, pending

pytestmark = pytest.mark.django_db


def fail_as_told(sender: object, error: str = "", **kwargs: Any) -> None:
    if error:
        raise ValueError(error)


def groups() -> dict[str, int]:
    """Return how many failures each group has, by its sample."""
    return dict(FailureGroup.objects.values_list("sample", "failures"))


@atomic_or_not
def test_each_failed_attempt_counts(atomic: bool, signal: AsyncSignal) -> None:
    connect(
        signal, fail_as_told, retry=AT_ONCE, atomic=atomic, name=f"t.fails_{atomic}"
    )
    send(signal, error="order 5 is gone")
    for _ in range(3):
        run_pending()
    group = FailureGroup.objects.get()
    assert (group.receiver, group.error_type) == (f"t.fails_{atomic}", "ValueError")
    assert (group.sample, group.failures) == ("order 5 is gone", 3)
    assert group.location == f"{__name__}.fail_as_told"
    assert group.first_seen_at < group.last_seen_at
    assert {a.fingerprint for a in Attempt.objects.all()} == {group.fingerprint}


@atomic_or_not
def test_failures_in_one_message_are_told_apart_by_their_cause(
    atomic: bool, signal: AsyncSignal
) -> None:
    connect(
        signal, fail_as_told, retry=AT_ONCE, atomic=atomic, name=f"t.mixed_{atomic}"
    )
    said = ["no answer", "", "bad address", "no answer", "", "no answer"]
    signal.send_many(sender=None, items=[{"error": error} for error in said])
    run_pending()
    assert groups() == {"no answer": 3, "bad address": 1}
    run_pending()
    assert groups() == {"no answer": 6, "bad address": 2}


def test_the_sample_is_of_the_first_failure(signal: AsyncSignal) -> None:
    connect(signal, fail_as_told, retry=AT_ONCE)
    send(signal, error="order 5 is gone")
    run_pending()
    send(signal, error="order 6 is gone")
    run_pending()
    assert groups() == {"order 5 is gone": 3}


@pytest.mark.parametrize(
    "answer", [None, True, "yes", [], Reject("it is of no use")], ids=repr
)
def test_a_batch_receiver_makes_one_group_of_many_deliveries_and_of_single_ones(
    answer: object, signal: AsyncSignal
) -> None:
    def answering(batch: Sequence[BatchItem], **kwargs: Any) -> object:
        is_error = isinstance(answer, Exception)
        return dict.fromkeys(batch, answer) if is_error else answer

    connect(signal, answering, batch=9, retry=RetryPolicy(max_attempts=1))
    signal.send_many(sender=None, items=[{}] * 3)
    run_pending()
    send(signal)
    run_pending()
    assert FailureGroup.objects.get().location == ""
    assert list(groups().values()) == [4]


def test_a_success_writes_no_group(signal: AsyncSignal) -> None:
    connect(signal, fail_as_told)
    send(signal)
    run_pending()
    assert groups() == {}


def defer(sender: object, **kwargs: Any) -> None:
    raise Retry("not yet", after=0, counts=False)


def test_what_is_deferred_counts_each_time(signal: AsyncSignal) -> None:
    connect(signal, defer)
    send(signal)
    for _ in range(3):
        run_pending()
    attempt = Attempt.objects.get()
    assert attempt.times == 3
    assert groups() == {"not yet": 3}
    assert FailureGroup.objects.get().fingerprint == attempt.fingerprint


def test_what_was_lost_with_its_worker_counts_too(signal: AsyncSignal) -> None:
    listen(signal, name="t.lost", retry=RetryPolicy(max_attempts=2, backoff=0))
    alone, *others = pending(signal, 4)
    lose(alone)
    lose(*others)
    recover("default")
    found = FailureGroup.objects.filter(receiver="t.lost").order_by("failures")
    assert [group.failures for group in found] == [1, 3]
    assert {group.error_type for group in found} == {
        "signal_tasks.exceptions.WorkerLost"
    }
    for group in found:
        same = Attempt.objects.filter(fingerprint=group.fingerprint)
        assert same.count() == group.failures


def test_an_error_that_no_database_can_hold_is_counted(signal: AsyncSignal) -> None:
    connect(signal, fail_as_told)
    send(signal, error="a\0b\ud800")
    run_pending()
    assert groups() == {"a\\x00b\\ud800": 1}


# -- in which statements --------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_group_is_one_statement_the_last_before_the_commit(
    signal: AsyncSignal,
) -> None:
    connect(signal, fail_as_told, name="t.once", atomic=False, retry=AT_ONCE)
    said = ["b", "a", "b", "c"]
    signal.send_many(sender=None, items=[{"error": error} for error in said])
    ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]
    with CaptureQueriesContext(connection) as queries:
        process_message("t.once", ids, "default", seconds=math.inf)
    made = [query["sql"] for query in queries.captured_queries]
    upserts = [n for n, sql in enumerate(made) if "signal_tasks_failuregroup" in sql]
    assert made[-1] == "COMMIT"
    assert upserts == list(range(len(made) - 4, len(made) - 1))


def failure(number: int) -> Failure:
    return Failure(Fingerprint(f"{number:016x}", "ValueError", ""), "t.r", "no")


@pytest.mark.django_db(transaction=True)
def test_concurrent_failures_are_all_counted_and_wait_for_nobody_in_a_circle() -> None:
    """Each transaction has several groups, in an order of its own."""
    threads, rounds = 4, 25
    start = threading.Barrier(threads)

    def work(step: int) -> None:
        start.wait()
        for n in range(rounds):
            several = [failure((n * step + k) % 7) for k in (0, step, 2, step)]
            with transaction.atomic():
                failures.count(several, database="default")

    run_in_threads(work, threads)
    assert sum(g.failures for g in FailureGroup.objects.all()) == threads * rounds * 4


@pytest.mark.django_db(transaction=True)
def test_workers_that_fail_at_the_same_time_count_every_attempt(
    signal: AsyncSignal,
) -> None:
    name = f"t.together_{uuid.uuid4().hex}"
    once = RetryPolicy(max_attempts=1)
    connect(signal, fail_as_told, name=name, retry=once)
    said = ["no answer", "bad address"] * 40
    signal.send_many(sender=None, items=[{"error": error} for error in said])
    ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]

    def work(number: int) -> None:
        process_message(name, ids[number - 1 :: 4], "default", seconds=math.inf)

    run_in_threads(work, 4)
    assert groups() == {"no answer": 40, "bad address": 40}
    assert Attempt.objects.count() == 80


def run_in_threads(work: Callable[[int], None], number: int) -> None:
    errors: list[BaseException] = []

    def run(each: int) -> None:
        try:
            work(each)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n + 1,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
