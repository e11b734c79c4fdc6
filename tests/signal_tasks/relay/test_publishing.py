"""The relay publishes pending deliveries that are due."""

from __future__ import annotations

from typing import Any

import pytest

from signal_tasks import AsyncSignal, signals
from signal_tasks.delivery.message import process_message
from signal_tasks.relay import publishing
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.relay.steps import (
    Received,
    only,
    pass_time,
    pending,
    received,
    run_pass,
    send,
    wait,
)

pytestmark = pytest.mark.django_db

NOBODY_LISTENS = "redis://127.0.0.1:1/0"


def test_what_nobody_published_is_published(signal: AsyncSignal, relay: Relay) -> None:
    listen(signal, name="t.published")
    send(signal)
    assert run_pass(relay).published == 1
    (message,) = received()
    assert message == Received("t.published", [str(only().pk)], "default")


def test_what_was_sent_a_moment_ago_is_left_to_its_sender(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal)
    signal.send(sender=None)
    assert run_pass(relay).published == 0
    assert received() == []


def test_a_publication_keeps_relays_away_for_twice_as_long_each_time(
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
        assert run_pass(relay).published == 1
        assert run_pass(relay).published == 0
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
    assert run_pass(relay).published == 12
    messages = received()
    sizes = sorted((message.task, len(message.ids)) for message in messages)
    assert sizes == [("t.first", 2), ("t.first", 4), ("t.second", 2), ("t.second", 4)]
    assert len({pk for message in messages for pk in message.ids}) == 12


def test_a_message_goes_to_the_queue_of_its_receiver(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, queue="elsewhere")
    send(signal)
    run_pass(relay)
    assert received() == []
    assert len(received("elsewhere")) == 1


def test_what_is_delayed_is_published_when_it_is_due(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal)
    signal.using(delay=3600).send(sender=None)
    assert run_pass(relay).published == 0
    pass_time(hours=1.01)
    assert run_pass(relay).published == 1


def test_a_pass_goes_on_until_all_that_is_due_is_published(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "BATCH", 10)
    listen(signal)
    send(signal, 35)
    assert run_pass(relay).published == 35


def test_no_more_is_published_in_advance_than_the_workers_manage(
    signal: AsyncSignal, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "BATCH", 2)
    listen(signal)
    send(signal, 300)
    for idle in (10, 10):
        assert run_pass(relay).published == idle
    for kept_up in (20, 40, 40):
        for message in received():
            process_message(message.task, message.ids, message.database)
        assert run_pass(relay).published == kept_up
    assert run_pass(relay).published == 10


def test_what_is_finished_is_not_published_again(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal)
    send(signal, 2)
    run_pending()
    assert run_pass(relay).published == 0


def test_without_a_broker_a_publication_is_unscheduled(
    signal: AsyncSignal, relay: Relay, settings: Any
) -> None:
    failures = []

    def note(details: signals.PublicationFailed, **kwargs: Any) -> None:
        failures.append(details.error)

    signals.publication_failed.connect(note)
    listen(signal)
    send(signal)
    url = settings.CELERY_BROKER_URL
    settings.CELERY_BROKER_URL = NOBODY_LISTENS
    assert run_pass(relay).published == 0
    assert only().publish_count == 0
    assert wait() <= 5
    pass_time()
    assert run_pass(relay).published == 0  # not tried: the broker failed just now
    assert len(failures) == 1
    settings.CELERY_BROKER_URL = url
    pass_time()
    another = Relay("relay@another")  # which has not seen the broker fail
    assert run_pass(another).published == 1
    another.close()
    assert len(received()) == 1


# -- orphans ----------------------------------------------------------------------


def test_what_nobody_here_can_run_is_marked_and_kept(
    signal: AsyncSignal, relay: Relay
) -> None:
    def hear(sender: object, **kwargs: Any) -> None: ...

    signal.connect(hear, name="t.orphan")
    (handle,) = pending(signal)
    signal.disconnect(hear)
    pass_time()
    done = run_pass(relay)
    assert (done.published, done.orphaned) == (0, 1)
    assert received() == []
    handle.refresh()
    assert (handle.state, handle.orphaned, handle.attempts) == ("pending", True, 0)
    pass_time()
    assert run_pass(relay).orphaned == 0  # so that nobody is told of it each minute


def test_a_process_that_knows_its_receiver_publishes_it_at_once(
    signal: AsyncSignal, relay: Relay
) -> None:
    def hear(sender: object, **kwargs: Any) -> None: ...

    signal.connect(hear, name="t.adopted")
    (handle,) = pending(signal)
    signal.disconnect(hear)
    pass_time()
    run_pass(relay)
    signal.connect(hear, name="t.adopted")
    newer = Relay("relay@newer")
    assert run_pass(newer).published == 1
    newer.close()
    assert [message.ids for message in received()] == [[str(handle.id)]]
    run_pending()
    handle.refresh()
    assert (handle.state, handle.orphaned) == ("succeeded", False)
