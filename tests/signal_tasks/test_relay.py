"""The relay: publishes what is owed, recovers what was lost, prunes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from celery import current_app
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from signal_tasks import AsyncSignal, DeliveryHandle, RetryPolicy, retention, signals
from signal_tasks import relay as relay_module
from signal_tasks.delivery import work_off
from signal_tasks.models import Attempt, Delivery, Event, Worker
from signal_tasks.publisher import publisher
from signal_tasks.recovery import recover
from signal_tasks.relay import Passage, Relay
from signal_tasks.retention import prune, prune_some
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db

NOBODY_LISTENS = "redis://127.0.0.1:1/0"


@dataclass(frozen=True)
class Received:
    """A message, as a worker would find it in its queue."""

    task: str
    ids: list[str]
    database: str


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay, and a broker with empty queues."""
    publisher.flush(5)
    received("tests")
    received("elsewhere")
    relay = Relay("relay@test")
    yield relay
    relay.leave()


def received(queue: str = "tests") -> list[Received]:
    """The messages in a queue of the broker, which is empty then."""
    found = []
    with current_app.connection_for_read() as link:
        channel = link.default_channel
        while queue in channel.queues and (raw := channel.basic_get(queue, True)):
            (ids, database), _, _ = raw.decode()
            found.append(Received(raw.headers["task"], ids, database))
    return found


def send(signal: AsyncSignal, number: int = 1) -> list[str]:
    """Send events that no process published; the ids of their deliveries."""
    signal.send_many(sender=None, items=[{}] * number)
    pass_time()
    return [str(pk) for pk in Delivery.objects.order_by("pk").values_list("pk")[0:]]


def pass_time(hours: float = 24) -> None:
    """Let the relay's next look at everything be due."""
    ago = timedelta(hours=hours)
    Delivery.objects.filter(relay_at__isnull=False).update(relay_at=F("relay_at") - ago)


def only() -> Delivery:
    delivery: Delivery = Delivery.objects.get()
    return delivery


def wait() -> float:
    """How long the relay will leave the only delivery alone, in seconds."""
    at = only().relay_at
    assert at is not None
    return (at - timezone.now()).total_seconds()


def passage(relay: Relay) -> Passage:
    (done,) = relay.run_once().values()
    return done


# -- publishing -------------------------------------------------------------------


def test_what_nobody_published_is_published(signal: AsyncSignal, relay: Relay) -> None:
    listen(signal, name="t.published")
    send(signal)
    assert passage(relay).published == 1
    (message,) = received()
    assert message == Received("t.published", [str(only().pk)], "default")


def test_what_was_sent_a_moment_ago_is_left_to_its_sender(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal)
    signal.send(sender=None)
    assert passage(relay).published == 0
    assert received() == []


def test_a_claim_keeps_relays_away_for_twice_as_long_each_time(
    signal: AsyncSignal, relay: Relay, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {
        "DATABASES": ["default"],
        "REPUBLISH_AFTER": 10,
        "REPUBLISH_MAX": 60,
    }
    listen(signal)
    send(signal)
    waits = []
    for _ in range(5):
        pass_time()
        assert passage(relay).published == 1
        assert passage(relay).published == 0
        waits.append(wait())
    assert waits == pytest.approx([10, 20, 40, 60, 60], abs=3)
    assert len(received()) == 5


def test_ids_travel_in_chunks_one_receiver_to_a_message(
    signal: AsyncSignal, relay: Relay, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": ["default"], "CHUNK_SIZE": 4}
    listen(signal, name="t.first")
    listen(signal, name="t.second")
    send(signal, 6)
    assert passage(relay).published == 12
    messages = received()
    sizes = sorted((message.task, len(message.ids)) for message in messages)
    assert sizes == [("t.first", 2), ("t.first", 4), ("t.second", 2), ("t.second", 4)]
    assert len({pk for message in messages for pk in message.ids}) == 12


def test_a_message_goes_to_the_queue_of_its_receiver(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, queue="elsewhere")
    send(signal)
    passage(relay)
    assert received() == []
    assert len(received("elsewhere")) == 1


def test_what_is_delayed_is_published_when_it_is_due(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal)
    signal.using(delay=3600).send(sender=None)
    assert passage(relay).published == 0
    pass_time(hours=1.01)
    assert passage(relay).published == 1


def test_a_pass_goes_on_until_all_that_is_due_is_published(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "BATCH", 10)
    listen(signal)
    send(signal, 35)
    assert passage(relay).published == 35


def test_no_more_is_claimed_in_advance_than_the_workers_manage(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "BATCH", 2)
    listen(signal)
    send(signal, 300)
    for idle in (10, 10):
        assert passage(relay).published == idle
    for kept_up in (20, 40, 40):
        for message in received():
            work_off(message.task, message.ids, message.database)
        assert passage(relay).published == kept_up
    assert passage(relay).published == 10


def test_what_has_ended_is_published_no_more(signal: AsyncSignal, relay: Relay) -> None:
    listen(signal)
    send(signal, 2)
    run_pending()
    assert passage(relay).published == 0


def test_without_a_broker_the_claim_is_taken_back(
    signal: AsyncSignal, relay: Relay, settings: Any
) -> None:
    failures = []

    def note(error: object, **kwargs: Any) -> None:
        failures.append(error)

    signals.broker_failed.connect(note)
    listen(signal)
    send(signal)
    url = settings.CELERY_BROKER_URL
    settings.CELERY_BROKER_URL = NOBODY_LISTENS
    assert passage(relay).published == 0
    assert only().relays == 0
    assert wait() <= 5
    pass_time()
    assert passage(relay).published == 0  # not even tried: it failed just now
    assert len(failures) == 1
    settings.CELERY_BROKER_URL = url
    relay._broker_again_at = 0.0
    pass_time()
    assert passage(relay).published == 1
    assert len(received()) == 1


# -- recovering -------------------------------------------------------------------


def lose(handle: DeliveryHandle, *others: DeliveryHandle) -> None:
    """Take deliveries in one message by a worker that then dies."""
    rows = Delivery.objects.all()
    ids = [each.id for each in (handle, *others)]
    taken = rows.take(ids, names=[handle.receiver], lease=60)
    assert len(taken) == len(ids)
    pass_time()


def owed(signal: AsyncSignal, number: int = 1) -> list[DeliveryHandle]:
    return [signal.send(sender=None)[0][1] for _ in range(number)]


def test_a_delivery_that_was_lost_alone_has_spent_its_attempt(
    signal: AsyncSignal,
) -> None:
    listen(signal, retry=RetryPolicy(max_attempts=2, backoff=50, jitter=False))
    (handle,) = owed(signal)
    lose(handle)
    assert recover("default") == 1
    handle.refresh()
    assert (handle.state, handle.attempts) == ("pending", 1)
    assert only().alone is True
    assert wait() == pytest.approx(50, abs=3)
    attempt = Attempt.objects.get()
    assert (attempt.error_type, attempt.number) == ("WorkerLost", 1)


def test_it_is_dead_when_its_attempts_are_spent(signal: AsyncSignal) -> None:
    listen(signal, retry=RetryPolicy(max_attempts=2, backoff=0))
    (handle,) = owed(signal)
    for _ in range(2):
        lose(handle)
        recover("default")
    handle.refresh()
    assert (handle.state, handle.reason, handle.attempts) == ("dead", "lost", 2)
    assert [a.outcome for a in Attempt.objects.all()] == ["retried", "dead"]


def test_deliveries_that_were_lost_together_lose_no_attempt(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    handles = owed(signal, 3)
    lose(*handles)
    assert recover("default") == 3
    for handle in handles:
        assert (handle.refresh().state, handle.attempts) == ("pending", 0)
    assert Delivery.objects.filter(alone=True).count() == 3


def test_they_are_published_one_to_a_message_and_taken_alone(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.suspects")
    handles = owed(signal, 3)
    lose(*handles)
    passage(relay)
    pass_time()
    passage(relay)
    assert {len(message.ids) for message in received()} == {1}
    ids = [handle.id for handle in handles]
    rows = Delivery.objects.all()
    assert rows.take(ids, names=["t.suspects"], lease=60) == []
    assert len(rows.take(ids[:1], names=["t.suspects"], lease=60)) == 1


def test_a_lease_that_is_not_over_is_respected(signal: AsyncSignal) -> None:
    listen(signal, name="t.at_work")
    (handle,) = owed(signal)
    Delivery.objects.take([handle.id], names=["t.at_work"], lease=60)
    assert recover("default") == 0
    assert handle.refresh().state == "running"


def test_a_worker_that_comes_back_after_its_lease_finds_it_taken(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.late")
    (handle,) = owed(signal)
    rows = Delivery.objects.all()
    (mine,) = rows.take([handle.id], names=["t.late"], lease=60)
    pass_time()
    recover("default")
    Delivery.objects.update(available_at=F("available_at") - timedelta(hours=1))
    (theirs,) = rows.take([handle.id], names=["t.late"], lease=60)
    assert rows.held([mine]).end("succeeded") == 0
    assert rows.held([theirs]).end("succeeded") == 1


def test_a_delivery_without_a_known_receiver_is_recovered_too(
    signal: AsyncSignal,
) -> None:
    def gone(sender: object, **kwargs: Any) -> None: ...

    signal.connect(gone, name="t.gone")
    (handle,) = owed(signal)
    lose(handle)
    signal.disconnect(gone)
    recover("default")
    assert handle.refresh().state == "pending"


# -- orphans ----------------------------------------------------------------------


def test_what_nobody_here_can_run_is_marked_and_kept(
    signal: AsyncSignal, relay: Relay
) -> None:
    def hear(sender: object, **kwargs: Any) -> None: ...

    signal.connect(hear, name="t.orphan")
    (handle,) = owed(signal)
    signal.disconnect(hear)
    pass_time()
    done = passage(relay)
    assert (done.published, done.orphaned) == (0, 1)
    assert received() == []
    handle.refresh()
    assert (handle.state, handle.orphaned, handle.attempts) == ("pending", True, 0)


def test_a_process_that_knows_its_receiver_publishes_it_at_once(
    signal: AsyncSignal, relay: Relay
) -> None:
    def hear(sender: object, **kwargs: Any) -> None: ...

    signal.connect(hear, name="t.adopted")
    (handle,) = owed(signal)
    signal.disconnect(hear)
    pass_time()
    passage(relay)
    signal.connect(hear, name="t.adopted")
    newer = Relay("relay@newer")
    assert passage(newer).published == 1
    newer.leave()
    assert [message.ids for message in received()] == [[str(handle.id)]]
    run_pending()
    handle.refresh()
    assert (handle.state, handle.orphaned) == ("succeeded", False)


# -- pruning ----------------------------------------------------------------------


@pytest.fixture
def _kept_for_a_day(settings: Any) -> None:
    day = timedelta(days=1)
    keep = {f"KEEP_{state}": day for state in ("SUCCEEDED", "DISCARDED", "DEAD")}
    settings.SIGNAL_TASKS = {"DATABASES": ["default"], **keep}


def ended(signal: AsyncSignal, *states: str) -> None:
    """One event for each state, with a delivery that ended so, long ago."""
    for state in states:
        handle = signal.send(sender=None)[0][1]
        Delivery.objects.filter(pk=handle.id).end(state)
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))


@pytest.mark.usefixtures("_kept_for_a_day")
def test_what_ended_long_ago_is_deleted_with_its_event(signal: AsyncSignal) -> None:
    listen(signal)
    ended(signal, "succeeded", "discarded", "dead")
    owed(signal)
    assert prune("default") == 3
    assert Delivery.objects.get().state == "pending"
    assert Event.objects.count() == 1


@pytest.mark.usefixtures("_kept_for_a_day")
def test_what_ended_lately_is_kept(signal: AsyncSignal) -> None:
    listen(signal)
    ended(signal, "succeeded")
    Delivery.objects.update(finished_at=F("finished_at") + timedelta(days=1.5))
    assert prune("default") == 0


@pytest.mark.usefixtures("_kept_for_a_day")
def test_an_event_stays_until_its_last_delivery_goes(signal: AsyncSignal) -> None:
    listen(signal, name="t.done")
    listen(signal, name="t.not_done")
    signal.send(sender=None)
    Delivery.objects.filter(receiver="t.done").end("succeeded")
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    assert prune("default") == 1
    assert Event.objects.count() == 1
    Delivery.objects.filter(receiver="t.not_done").end("succeeded")
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    assert prune("default") == 1
    assert Event.objects.count() == 0


@pytest.mark.usefixtures("_kept_for_a_day")
def test_failed_attempts_go_with_their_delivery(signal: AsyncSignal) -> None:
    def fail(sender: object, **kwargs: Any) -> None:
        raise ValueError

    signal.connect(fail, name="t.pruned_failure", retry=RetryPolicy(max_attempts=1))
    signal.send(sender=None)
    run_pending()
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    assert prune("default") == 1
    assert not Attempt.objects.exists()


def test_by_default_the_dead_are_kept_for_ever(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": ["default"]}
    listen(signal)
    ended(signal, "succeeded", "discarded", "dead")
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=4000))
    assert prune("default") == 2
    assert Delivery.objects.get().state == "dead"


@pytest.mark.usefixtures("_kept_for_a_day")
def test_much_is_pruned_in_small_batches(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    listen(signal)
    ended(signal, *["succeeded"] * 10, "dead")
    assert [prune_some("default"), prune_some("default")] == [3, 3]
    assert prune("default") == 5
    assert not Event.objects.exists()


@pytest.mark.usefixtures("_kept_for_a_day")
def test_a_pass_prunes_one_batch_and_the_next_goes_on(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "SHARE", 1.0)  # the next comes without a rest
    listen(signal)
    ended(signal, *["succeeded"] * 4)
    assert [passage(relay).pruned, passage(relay).pruned] == [3, 1]


@pytest.mark.usefixtures("_kept_for_a_day")
def test_after_a_full_batch_the_relay_rests_from_pruning(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "SHARE", 1e-6)
    listen(signal)
    ended(signal, *["succeeded"] * 4)
    assert [passage(relay).pruned, passage(relay).pruned] == [3, 0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(
    not connection.features.has_select_for_update, reason="one writer at a time"
)
@pytest.mark.usefixtures("_kept_for_a_day")
def test_two_that_prune_an_event_together_leave_nothing_of_it(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    listen(signal)
    listen(signal)
    signal.send(sender=None)
    Delivery.objects.all().end("succeeded")
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=2))
    other = Thread(target=_prune_elsewhere)
    with transaction.atomic():
        assert prune_some("default") == 1
        other.start()
        other.join(0.5)  # it waits for this transaction
    other.join(10)
    assert not Delivery.objects.exists()
    assert not Event.objects.exists()


def _prune_elsewhere() -> None:
    try:
        prune_some("default")
    finally:
        connection.close()


@pytest.mark.usefixtures("_kept_for_a_day")
def test_the_relay_prunes(signal: AsyncSignal, relay: Relay) -> None:
    listen(signal)
    ended(signal, "succeeded")
    assert passage(relay).pruned == 1


# -- being seen -------------------------------------------------------------------


def test_a_relay_is_seen_while_it_is_at_work(relay: Relay) -> None:
    passage(relay)
    passage(relay)
    assert Worker.objects.get().name == "relay@test"
    relay.leave()
    assert not Worker.objects.exists()


def test_workers_that_are_long_gone_are_forgotten(relay: Relay) -> None:
    Worker.objects.create(name="celery@dead", pk=uuid.uuid4())
    Worker.objects.update(seen_at=F("seen_at") - timedelta(days=2))
    passage(relay)
    assert Worker.objects.get().name == "relay@test"


def test_a_pass_leaves_the_transaction_of_a_test_alone(relay: Relay) -> None:
    Worker.objects.create(name="celery@here")
    passage(relay)
    relay.leave()
    assert connection.in_atomic_block
    assert Worker.objects.get().name == "celery@here"


def test_a_database_that_fails_does_not_harm_the_others(
    relay: Relay, settings: Any
) -> None:
    failed = []

    def note(database: str, **kwargs: Any) -> None:
        failed.append(database)

    signals.relay_failed.connect(note)
    settings.SIGNAL_TASKS = {"DATABASES": ["nowhere", "default"]}
    assert list(relay.run_once()) == ["default"]
    assert failed == ["nowhere"]
