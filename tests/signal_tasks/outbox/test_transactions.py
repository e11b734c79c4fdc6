"""Events exist if and only if the sender's transaction commits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from signal_tasks import AsyncSignal
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.models import Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.outbox.steps import Undo, deliveries, undone

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_committed_send_is_pending_and_published(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    listen(signal)
    with transaction.atomic():
        ((_, handle),) = signal.send(sender=None)
        assert submitted == []
    assert deliveries() == 1
    (request,) = submitted
    assert request.ids == [str(handle.id)]
    assert request.database == "default"


def test_a_rolled_back_send_never_was(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    listen(signal)
    with undone():
        ((_, handle),) = signal.send(sender=None)
    assert not Event.objects.exists()
    assert submitted == []
    with pytest.raises(Delivery.DoesNotExist):
        handle.refresh()


def test_a_rolled_back_savepoint_takes_only_its_own_sends(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    calls = listen(signal)
    with transaction.atomic():
        signal.send(sender="before")
        with undone():
            signal.send(sender="inside")
        signal.send(sender="after")
    assert sum(len(request.ids) for request in submitted) == 2
    run_pending()
    assert [call["sender"] for call in calls] == ["before", "after"]


def test_a_nested_block_that_commits_is_undone_with_the_outer_one(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    listen(signal)
    with undone(), transaction.atomic(), transaction.atomic(savepoint=False):
        signal.send(sender=None)
    assert deliveries() == 0
    assert submitted == []


def test_several_sends_of_one_transaction_commit_together(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    calls = listen(signal)
    other = AsyncSignal(name="t.several")
    listen(other)
    with transaction.atomic():
        for number in range(5):
            signal.send(sender=None, number=number)
        other.send(sender=None)
    assert deliveries() == 6
    run_pending()
    assert [call["number"] for call in calls] == [0, 1, 2, 3, 4]


def test_outside_of_a_transaction_a_send_is_one_of_its_own(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    listen(signal)
    listen(signal)
    signal.send(sender=None)
    assert (Event.objects.count(), deliveries()) == (1, 2)
    assert sum(len(request.ids) for request in submitted) == 2


def test_a_transaction_by_hand_is_respected(signal: AsyncSignal) -> None:
    listen(signal)
    transaction.set_autocommit(False)
    try:
        signal.send(sender="kept")
        transaction.commit()
        signal.send(sender="undone")
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert deliveries() == 1


def test_a_transaction_that_is_marked_for_rollback_takes_the_event_along(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    with transaction.atomic():
        signal.send(sender=None)
        transaction.set_rollback(True)
    assert deliveries() == 0


def test_a_failed_hook_of_somebody_else_loses_nothing(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    calls = listen(signal)

    def fail() -> None:
        raise Undo

    def send_after_them() -> None:
        with transaction.atomic():
            transaction.on_commit(fail)
            signal.send(sender=None)

    with pytest.raises(Undo):
        send_after_them()
    assert submitted == []  # the row is there, so the relay publishes it
    assert Delivery.objects.get().next_check_at is not None
    run_pending()
    assert len(calls) == 1


def test_a_delayed_send_is_left_to_the_relay(
    signal: AsyncSignal, submitted: list[PublishRequest]
) -> None:
    listen(signal)
    signal.using(delay=60).send(sender=None)
    assert deliveries() == 1
    assert submitted == []


# -- requests ---------------------------------------------------------------------


in_request = AsyncSignal()


def send_in_request(request: HttpRequest) -> HttpResponse:
    ((_, handle),) = in_request.send(sender=None, path=request.path)
    if "fail" in request.GET:
        raise Undo
    return HttpResponse(str(handle.id))


urlpatterns = [path("send/", send_in_request)]


@pytest.mark.urls(__name__)
class TestAtomicRequests:
    """With ATOMIC_REQUESTS, each request is a transaction."""

    @pytest.fixture(autouse=True)
    def _atomic(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)

        def hear(sender: object, path: str, **kwargs: Any) -> None: ...

        in_request.connect(hear, name="t.in_request")
        yield
        in_request.disconnect(hear)

    def test_a_request_that_succeeds_has_sent_its_event(
        self, client: Client, submitted: list[PublishRequest]
    ) -> None:
        response = client.get("/send/")
        assert deliveries() == 1
        assert submitted[0].ids == [response.content.decode()]

    def test_a_request_that_fails_has_sent_nothing(
        self, client: Client, submitted: list[PublishRequest]
    ) -> None:
        with pytest.raises(Undo):
            client.get("/send/?fail=1")
        assert deliveries() == 0
        assert submitted == []
