"""Metrics: right over all processes, bounded, and shown to nobody without leave."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.db.models import F
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from signal_tasks import AsyncSignal, Breaker, Reject
from signal_tasks.db.clock import from_now
from signal_tasks.models import (
    Control,
    Delivery,
    Gate,
    HeldDelivery,
    Turn,
    Worker,
)
from signal_tasks.telemetry import gauges
from signal_tasks.telemetry.exporter import server
from signal_tasks.telemetry.metrics import Collector
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import finish, listen

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
Write = Callable[[], None]
urlpatterns = [path("", include("signal_tasks.telemetry.urls"))]
TOKEN = "a-token-of-some-length"


def scrape() -> Samples:
    """Return all samples as a scraper reads them."""
    registry = CollectorRegistry()
    registry.register(Collector())
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    labels = {"database": "default", **labels}
    return samples[f"signal_tasks_{name}", frozenset(labels.items())]


# -- counters ---------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_attempts_are_counted_by_receiver_and_outcome(
    signal: AsyncSignal, failing: Callable[..., None], recorded: Write
) -> None:
    listen(signal, name="t.well")
    failing("t.dead", Reject("no"))
    for _ in range(3):
        signal.send(sender=None)
    run_pending()
    recorded()
    samples = scrape()
    attempts = {"name": "attempts_total", "outcome": "succeeded"}
    assert value(samples, receiver="t.well", **attempts) == 3
    assert value(samples, receiver="t.dead", **attempts) == 0
    assert value(samples, **(attempts | {"outcome": "dead"}), receiver="t.dead") == 3


@pytest.mark.django_db(transaction=True)
def test_histograms_are_cumulative_and_sum_up(
    signal: AsyncSignal, recorded: Write
) -> None:
    listen(signal, name="t.timed")
    signal.send(sender=None)
    signal.send(sender=None)
    Delivery.objects.update(available_at=F("available_at") - timedelta(seconds=20))
    run_pending()
    recorded()
    samples = scrape()
    wait = {"name": "wait_seconds_bucket", "receiver": "t.timed"}
    assert value(samples, le="10.0", **wait) == 0
    assert value(samples, le="60.0", **wait) == value(samples, le="+Inf", **wait) == 2
    assert value(samples, "wait_seconds_count", receiver="t.timed") == 2
    assert value(samples, "wait_seconds_sum", receiver="t.timed") >= 40
    tries = {"name": "attempts_per_delivery_bucket", "receiver": "t.timed"}
    assert value(samples, le="1.0", **tries) == 2


@pytest.mark.django_db
def test_a_receiver_that_has_done_nothing_yet_is_counted_from_zero(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.new")
    samples = scrape()
    for outcome in ("succeeded", "retried", "deferred", "dead", "skipped"):
        labels = {"receiver": "t.new", "outcome": outcome}
        assert value(samples, "attempts_total", **labels) == 0
    assert value(samples, "published_total") == 0


@pytest.mark.django_db
def test_a_database_that_cannot_be_read_is_down(signal: AsyncSignal) -> None:
    with connection.execute_wrapper(be_down):
        samples = scrape()
    assert value(samples, "up") == 0
    assert value(scrape(), "up") == 1


def be_down(*_: object) -> None:
    """Fail as a database does that is away."""
    raise OperationalError("the server is down")


# -- gauges -----------------------------------------------------------------------


@pytest.fixture
def sent(db: None, signal: AsyncSignal) -> Callable[[str, int], Any]:
    """Return a function that leaves so many pending deliveries of a receiver."""

    def send(name: str, events: int) -> Any:
        own = AsyncSignal(name=f"{signal.name}.{name}")
        listen(own, name=name, queue="slow")
        signal.__dict__.setdefault("kept", []).append(own)
        own.send_many(sender=None, items=[{}] * events)
        return Delivery.objects.filter(receiver=name)

    return send


def test_deliveries_are_counted_by_receiver_and_state(sent: Any) -> None:
    rows = sent("t.counted", 6)
    ids = list(rows.values_list("pk", flat=True))
    rows.filter(pk__in=ids[:2]).update(state="running", next_check_at=from_now(60))
    rows.filter(pk=ids[2]).update(available_at=from_now(3600))
    rows.filter(pk=ids[3]).update(orphaned=True, parked="no queue")
    finish(rows.filter(pk=ids[4]), "succeeded")
    load = gauges.read("default").receivers["t.counted"]
    assert (load.pending, load.running, load.due) == (3, 2, 2)
    assert (load.orphaned, load.parked) == (1, 1)


def test_the_oldest_wait_is_that_of_a_due_delivery(sent: Any) -> None:
    rows = sent("t.waits", 2)
    rows.update(available_at=from_now(-90))
    sent("t.later", 1).update(available_at=from_now(3600))
    samples = scrape()
    wait = value(samples, "oldest_wait_seconds", receiver="t.waits", queue="slow")
    assert 90 <= wait < 120
    later = value(samples, "oldest_wait_seconds", receiver="t.later", queue="slow")
    assert later == 0


def test_dead_letters_are_counted_and_what_was_replayed_is_not(
    signal: AsyncSignal, failing: Callable[..., None], db: None
) -> None:
    failing("t.dead", Reject("no"))
    for _ in range(3):
        signal.send(sender=None)
    run_pending()
    Delivery.objects.filter(pk=Delivery.objects.dead()[0].pk).replay()
    load = gauges.read("default").receivers["t.dead"]
    assert (load.dead, load.pending) == (2, 1)
    run_pending()
    assert gauges.read("default").receivers["t.dead"].dead == 3


def test_what_is_held_is_not_due(sent: Any) -> None:
    rows = sent("t.held", 3)
    HeldDelivery.objects.create(delivery_id=rows[0].pk, receiver="t.held", why="paused")
    samples = scrape()
    held = value(samples, "held_deliveries", receiver="t.held", state="paused")
    due = value(samples, "due_deliveries", receiver="t.held", queue="slow")
    assert (held, due) == (1, 2)


def test_what_waits_behind_another_of_its_key_is_not_due(sent: Any) -> None:
    rows = sent("t.behind", 4)
    for position, delivery in enumerate(rows[:3]):
        Turn.objects.create(
            delivery_id=delivery.pk, sequence_id=1, position=position + 1
        )
    load = gauges.read("default").receivers["t.behind"]
    assert (load.pending, load.due) == (4, 2)


@pytest.mark.parametrize(
    "target", ["*", "receiver:t.paused", "queue:slow", "signal:{signal}.t.paused"]
)
def test_a_paused_receiver_is_seen(target: str, sent: Any, signal: AsyncSignal) -> None:
    sent("t.paused", 1)
    sent("t.other", 1)
    Control.objects.create(kind="pause", target=target.format(signal=signal.name))
    Control.objects.create(kind="pause", target="receiver:t.other", until=from_now(-1))
    samples = scrape()
    assert value(samples, "paused", receiver="t.paused") == 1
    others = value(samples, "paused", receiver="t.other")
    assert others == (target in ("*", "queue:slow"))


def test_breakers_and_blocked_keys_are_seen(
    signal: AsyncSignal, failing: Callable[..., None], db: None
) -> None:
    failing("t.gauged", Reject("no"), breaker=Breaker())
    signal.send(sender=None)
    run_pending()
    Turn.objects.create(
        delivery_id=Delivery.objects.get().pk, sequence_id=1, position=1
    )
    Gate.objects.create(receiver="t.gauged", breaker="open")
    samples = scrape()
    assert value(samples, "blocked_keys", receiver="t.gauged") == 1
    assert value(samples, "breaker_open", receiver="t.gauged") == 1


def test_live_workers_and_their_broker_are_seen(db: None) -> None:
    Worker.objects.create(name="a", broker_error="refused")
    Worker.objects.create(name="b", runs_relay=False)
    Worker.objects.create(name="gone", seen_at=from_now(-3600))
    samples = scrape()
    found = [
        value(samples, name)
        for name in ("workers", "relays", "workers_with_broker_failures")
    ]
    assert found == [2, 1, 1]


def test_a_receiver_is_shown_with_its_signal_and_queue(
    signal: AsyncSignal, db: None
) -> None:
    listen(signal, name="t.info", queue="slow")
    labels = {"receiver": "t.info", "signal": signal.name, "queue": "slow"}
    info = ("signal_tasks_receiver_info", frozenset(labels.items()))
    assert scrape()[info] == 1


def test_more_than_is_counted_is_said(sent: Any) -> None:
    sent("t.many", 30)
    assert gauges.read("default", limit=31).complete
    some = gauges.read("default", limit=30)
    assert not some.complete
    assert some.receivers["t.many"].pending == 30
    assert gauges.read("default", limit=10).receivers["t.many"].pending == 10


def test_a_scrape_is_the_same_statements_whatever_there_is(sent: Any) -> None:
    made = []
    for number in (1, 200):
        sent(f"t.n{number}", number)
        with CaptureQueriesContext(connection) as queries:
            gauges.read("default")
        made.append(len(queries))
    assert made[0] == made[1] <= 14


def test_scrapers_at_the_same_time_ask_the_database_once(db: None) -> None:
    registry = CollectorRegistry()
    registry.register(Collector())
    generate_latest(registry)
    with CaptureQueriesContext(connection) as queries:
        generate_latest(registry)
    assert len(queries) == 0


class Clock:
    """A clock that goes on by a step whenever somebody looks, and otherwise as told."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 1000.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def asked_after(seconds: float, *, took: float, down: bool = False) -> bool:
    """Return True if the database is asked again so long after an answer."""
    clock = Clock(took)
    collector = Collector(clock=clock)
    with connection.execute_wrapper(be_down) if down else nullcontext():
        collector.collect()
    clock.now, clock.step = clock.now + seconds, 0.0
    with CaptureQueriesContext(connection) as queries:
        collector.collect()
    return len(queries) > 0


@pytest.mark.django_db
def test_an_answer_that_took_long_holds_for_half_a_minute_at_most() -> None:
    assert asked_after(3, took=0.01)
    assert not asked_after(15, took=1)
    assert not asked_after(29, took=600)
    assert asked_after(31, took=600)


@pytest.mark.django_db
def test_that_the_database_is_down_holds_for_two_seconds() -> None:
    assert not asked_after(1, took=30, down=True)
    assert asked_after(3, took=30, down=True)


# -- who may see them -------------------------------------------------------------


def get(client: Client | None = None, **headers: str) -> int:
    with override_settings(ROOT_URLCONF=__name__):
        return (client or Client()).get("/metrics", headers=headers).status_code


@pytest.fixture
def _token(settings: Any) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "METRICS_TOKEN": TOKEN}


@pytest.mark.django_db
@pytest.mark.usefixtures("_token")
def test_a_scraper_with_the_token_gets_the_metrics() -> None:
    assert get(authorization=f"Bearer {TOKEN}") == 200
    for wrong in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
        assert get(authorization=wrong) == 401


@pytest.mark.django_db
@pytest.mark.parametrize("token", [None, ""])
@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer None"])
def test_without_a_token_in_the_settings_no_token_opens(
    given: str, token: str | None, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "METRICS_TOKEN": token}
    assert get(authorization=given) == 401


@pytest.mark.django_db
def test_staff_that_may_view_deliveries_gets_the_metrics() -> None:
    client = Client()
    user = User.objects.create(username="ada", is_staff=True)
    client.force_login(user)
    assert get(client) == 401
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    assert get(client) == 200
    User.objects.update(is_staff=False)
    assert get(client) == 401


@pytest.fixture
def exporter(transactional_db: None) -> Iterator[str]:
    serving = server("127.0.0.1", 0)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()
    serving.server_close()


def fetch(url: str, **headers: str) -> int:
    try:
        with urlopen(Request(url, headers=headers), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_the_exporter_serves_the_metrics_and_nothing_else(exporter: str) -> None:
    assert fetch(f"{exporter}/metrics") == 200
    assert fetch(f"{exporter}/secret") == 404


@pytest.mark.usefixtures("_token")
def test_the_exporter_asks_for_the_token_too(exporter: str) -> None:
    assert fetch(f"{exporter}/metrics") == 401
    assert fetch(f"{exporter}/metrics", Authorization=f"Bearer {TOKEN}") == 200


WITHOUT = """
import sys, django
sys.modules["prometheus_client"] = None
django.setup()
from signal_tasks.telemetry import metrics, urls
try:
    metrics.render()
except django.core.exceptions.ImproperlyConfigured as error:
    print(error)
"""


def test_without_the_extra_the_error_names_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert "django-signal-tasks[metrics]" in done.stdout
