"""What workers have done is counted in minutes, hours and totals, and read again."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from signal_tasks import AsyncSignal, Reject, Retry, RetryPolicy, signals
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery, History
from signal_tasks.models.history import ALL, HOUR, MINUTE, RUN, TOTAL, WAIT
from signal_tasks.relay.pruning import prune_history
from signal_tasks.relay.relay import Relay
from signal_tasks.telemetry import history
from signal_tasks.telemetry.recording import Attempt, Other, Recorder
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db(transaction=True)

Write = Callable[[], None]


def total(receiver: str, *columns: str) -> dict[str, float]:
    rows = History.objects.filter(receiver=receiver, step=TOTAL)
    return dict(rows.values(*columns).get())


def a_while_ago() -> datetime:
    return timezone.now() - timedelta(minutes=5)


# -- what is counted --------------------------------------------------------------


def test_a_success_is_counted_in_its_minute_its_hour_and_in_total(
    signal: AsyncSignal, recorded: Write
) -> None:
    listen(signal, name="t.counted")
    signal.send(sender=None)
    run_pending()
    recorded()
    rows = History.objects.filter(receiver="t.counted", succeeded=1, attempts_0=1)
    steps = dict(rows.values_list("step", "start"))
    now = int(time.time())
    assert set(steps) == {MINUTE, HOUR, TOTAL}
    assert steps[MINUTE] in (now - now % 60, now - now % 60 - 60)
    assert steps[HOUR] in (now - now % 3600, now - now % 3600 - 3600)
    assert steps[TOTAL] == 0


@pytest.mark.parametrize(
    ("error", "options", "column"),
    [
        (ValueError(), {}, "retried"),
        (Retry(after=1), {}, "deferred"),
        (Retry(after=1, counts=False), {}, "deferred"),
        (Reject("no"), {}, "dead"),
        (ValueError(), {"retry": RetryPolicy(max_attempts=1)}, "dead"),
    ],
)
def test_each_outcome_has_its_column(
    error: BaseException,
    options: dict[str, Any],
    column: str,
    signal: AsyncSignal,
    failing: Callable[..., None],
    recorded: Write,
) -> None:
    failing("t.outcome", error, **options)
    signal.send(sender=None)
    run_pending()
    recorded()
    columns = ("succeeded", "retried", "deferred", "dead", "skipped")
    assert total("t.outcome", *columns) == dict.fromkeys(columns, 0) | {column: 1}


def test_waits_and_run_times_are_counted_in_bins(
    signal: AsyncSignal, recorded: Write
) -> None:
    def nap(sender: object, **kwargs: Any) -> None:
        time.sleep(0.06)

    signal.connect(nap, name="t.napping", weak=False)
    signal.send(sender=None)
    Delivery.objects.update(available_at=F("available_at") - timedelta(seconds=40))
    run_pending()
    recorded()
    counted = total("t.napping", *WAIT, *RUN, "wait_seconds", "run_seconds")
    assert counted["wait_13"] == 1  # from 30 to 60 seconds
    assert sum(counted[name] for name in RUN[5:]) == 1  # more than 50 milliseconds
    assert 40 <= counted["wait_seconds"] < 60
    assert counted["run_seconds"] >= 0.06


def test_all_receivers_together_are_counted_too(
    signal: AsyncSignal, recorded: Write
) -> None:
    listen(signal, name="t.one")
    listen(signal, name="t.two")
    signal.send(sender=None)
    run_pending()
    recorded()
    assert total(ALL, "succeeded") == {"succeeded": 2}


def test_a_delivery_that_a_relay_finds_dead_is_counted(recorded: Write) -> None:
    details = signals.DeliveryDead(
        delivery_id=uuid.uuid4(),
        receiver="t.lost",
        database="default",
        run=1,
        attempt=3,
        reason="lost",
        error="its worker died",
    )
    signals.delivery_dead.send(Relay, details=details)
    recorded()
    assert total("t.lost", "dead", "attempts") == {"dead": 1, "attempts": 3}


def test_what_is_released_fenced_and_not_published_is_counted(recorded: Write) -> None:
    released = signals.DeliveriesReleased(
        receiver="t.other", database="default", count=7
    )
    signals.deliveries_released.send(None, details=released)
    fenced = signals.DeliveryFenced(
        delivery_id=uuid.uuid4(), receiver="t.other", database="default"
    )
    signals.delivery_fenced.send(None, details=fenced)
    refused = signals.PublicationFailed(error=OSError(), receiver="t.other")
    signals.publication_failed.send(None, details=refused)
    away = signals.PublicationFailed(error=OSError())
    signals.publication_failed.send(None, details=away)
    recorded()
    columns = ("released", "fenced", "publication_failures")
    assert tuple(total("t.other", *columns).values()) == (7, 1, 1)
    assert tuple(total(ALL, *columns).values()) == (7, 1, 2)


def test_the_work_of_a_relay_is_counted(signal: AsyncSignal, recorded: Write) -> None:
    listen(signal)
    signal.using(delay=3000).send(sender=None)
    Delivery.objects.update(next_check_at=F("next_check_at") - timedelta(hours=1))
    relay = Relay("relay@test")
    relay.run_once()
    relay.close()
    recorded()
    assert total(ALL, "published", "recovered") == {"published": 1, "recovered": 0}


# -- how it is written ------------------------------------------------------------


def test_writers_at_the_same_time_lose_nothing() -> None:
    def write() -> None:
        for _ in range(20):
            recorder = Recorder()
            for receiver in ("t.a", "t.b"):
                recorder.add(Other("default", receiver, {"fenced": 1}))
            deadline = time.monotonic() + 30
            while not recorder.write() and time.monotonic() < deadline:
                pass

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total("t.a", "fenced") == total("t.b", "fenced") == {"fenced": 80}
    assert total(ALL, "fenced") == {"fenced": 160}


def test_a_write_is_one_statement_for_several_receivers(recorded: Write) -> None:
    recorder = Recorder()
    for number in range(5):
        recorder.add(Attempt("default", f"t.{number}", "succeeded", 0.1, 0.1, 1))
    with CaptureQueriesContext(connection) as queries:
        recorder.write()
    inserts = [q for q in queries.captured_queries if q["sql"].startswith("INSERT")]
    assert len(inserts) == 1


def test_more_receivers_than_a_statement_has_parameters_for_are_written() -> None:
    recorder = Recorder()
    for number in range(700):
        recorder.add(Attempt("default", f"t.{number}", "succeeded", 0.1, 0.1, 1))
    assert recorder.write()
    assert History.objects.filter(step=TOTAL).count() == 701
    assert total(ALL, "succeeded") == {"succeeded": 700}


def test_what_a_database_does_not_take_is_written_the_next_time() -> None:
    recorder = Recorder()
    recorder.add(Other("default", "t.kept", {"fenced": 1}))

    def refuse(*args: Any) -> None:
        raise OSError("away")

    with connection.execute_wrapper(refuse):
        assert not recorder.write()
    recorder.add(Other("default", "t.kept", {"fenced": 1}))
    assert recorder.write()
    assert total("t.kept", "fenced") == {"fenced": 2}


def test_the_thread_writes_by_itself_and_at_the_end_of_the_process() -> None:
    recorder = Recorder()
    recorder.add(Other("default", "t.closed", {"fenced": 1}))
    recorder.close(30)
    assert total("t.closed", "fenced") == {"fenced": 1}


def test_what_is_refused_at_the_end_of_the_process_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    refusals = [OSError("locked"), OSError("locked")]
    add = type(History.objects.all()).add

    def refuse(rows: Any, counts: Any) -> None:
        if refusals:
            raise refusals.pop()
        add(rows, counts)

    monkeypatch.setattr(type(History.objects.all()), "add", refuse)
    recorder.add(Other("default", "t.refused", {"fenced": 1}))
    recorder.close(30)
    assert not refusals
    assert total("t.refused", "fenced") == {"fenced": 1}


def test_nothing_is_counted_outside_of_workers(signal: AsyncSignal) -> None:
    listen(signal)
    signal.send(sender=None)
    ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]
    (name,) = Delivery.objects.values_list("receiver", flat=True)
    process_message(name, ids, "default", seconds=math.inf)
    assert not History.objects.exists()


# -- how it is kept ---------------------------------------------------------------


def old(step: int, age: timedelta, receiver: str = "t.old") -> None:
    start = int((timezone.now() - age).timestamp())
    History.objects.create(receiver=receiver, step=step, start=start, succeeded=1)


def test_minutes_are_kept_for_two_days_and_hours_as_long_as_the_setting_says(
    settings: Any,
) -> None:
    settings.SIGNAL_TASKS = {
        **settings.SIGNAL_TASKS,
        "KEEP_HISTORY": timedelta(days=30),
    }
    for days in (1, 3):
        old(MINUTE, timedelta(days=days))
    for days in (29, 31):
        old(HOUR, timedelta(days=days))
    History.objects.create(receiver="t.old", step=TOTAL, start=0, succeeded=2)
    assert prune_history("default") == 2
    assert sorted(History.objects.values_list("step", flat=True)) == [0, 60, 3600]


def test_a_relay_deletes_old_counts() -> None:
    old(MINUTE, timedelta(days=3))
    relay = Relay("relay@test")
    relay.run_once()
    relay.close()
    assert not History.objects.exists()


# -- how it is read ---------------------------------------------------------------


def test_the_last_minutes_of_a_receiver_are_read_with_its_rates(
    signal: AsyncSignal, failing: Callable[..., None], recorded: Write
) -> None:
    failing("t.half", ValueError(), retry=RetryPolicy(max_attempts=1))
    listen(signal, name="t.well")
    for _ in range(3):
        signal.send(sender=None)
    run_pending()
    recorded()
    points = history.read("t.half", since=a_while_ago())
    assert len(points) == 6
    assert sum(point.dead for point in points) == 3
    assert max(point.failure_rate for point in points) == 1.0
    together = history.read(since=a_while_ago(), step=600)[-1]
    assert (together.succeeded, together.dead) == (3, 3)
    assert together.failure_rate == 0.5
    assert together.rate == 0.3


def test_percentiles_come_from_the_bins() -> None:
    now = int(time.time())
    start = now - now % MINUTE
    History.objects.create(
        receiver="t.bins", step=MINUTE, start=start, succeeded=100, run_6=90, run_8=10
    )
    (point,) = history.read("t.bins", since=datetime.fromtimestamp(start, UTC))[:1]
    assert point.run is not None
    median, high = point.run
    assert 0.1 < median < 0.25
    assert 0.5 < high < 1.0
    assert point.wait is None


def test_longer_steps_sum_up_minutes_and_hours() -> None:
    since = timezone.now() - timedelta(hours=5)
    for minutes in (10, 20, 130):
        old(MINUTE, timedelta(minutes=minutes))
        old(HOUR, timedelta(minutes=minutes))
    for step in (600, HOUR, 2 * HOUR):
        points = history.read("t.old", since=since, step=step)
        assert sum(point.succeeded for point in points) == 3
        assert {point.seconds for point in points} == {float(step)}


@pytest.mark.parametrize("step", [0, -60, 45, 90, 5400])
def test_a_step_that_no_rows_add_up_to_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="step is"):
        history.read(since=a_while_ago(), step=step)


def test_all_receivers_are_summed_up_in_one_statement(recorded: Write) -> None:
    for minutes, receiver in ((1, "t.one"), (2, "t.one"), (2, "t.two")):
        old(MINUTE, timedelta(minutes=minutes), receiver)
    with CaptureQueriesContext(connection) as queries:
        found = history.summary(since=a_while_ago())
    assert {name: point.succeeded for name, point in found.items()} == {
        "t.one": 2,
        "t.two": 1,
    }
    assert len(queries) == 1


def test_several_receivers_are_read_in_one_statement() -> None:
    for receiver in ("t.one", "t.two"):
        old(MINUTE, timedelta(minutes=2), receiver)
    with CaptureQueriesContext(connection) as queries:
        found = history.series(["t.one", "t.two", "t.idle"], since=a_while_ago())
    assert [sum(p.succeeded for p in each) for each in found.values()] == [1, 1, 0]
    assert len(queries) == 1
