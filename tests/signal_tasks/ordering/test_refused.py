"""Deliveries that are due, and that the worker of a message cannot claim all the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from signal_tasks import AsyncSignal
from signal_tasks.db.clock import from_now
from signal_tasks.delivery.message import process_message
from signal_tasks.delivery.process import process
from signal_tasks.delivery.writing import FOLLOW_AFTER
from signal_tasks.models import Delivery
from signal_tasks.signals import DeliveriesReleased, deliveries_released
from tests.signal_tasks.ordering.steps import Ordered, in_thread

pytestmark = pytest.mark.django_db(transaction=True)
needs_locks = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite locks no rows"
)
limited_or_not = pytest.mark.parametrize("options", [{}, {"rate_limit": "100/s"}])


@pytest.fixture
def published(connected: Callable[..., None]) -> list[int]:
    """Return the sizes of what messages publish again."""
    sizes: list[int] = []

    def note(details: DeliveriesReleased, **kwargs: Any) -> None:
        sizes.append(details.count)

    connected(deliveries_released, note)
    return sizes


@limited_or_not
def test_the_delivery_of_another_receiver_is_not_published_again(
    options: dict[str, Any], published: list[int]
) -> None:
    ordered, other = Ordered(**options), Ordered()
    result = ordered.run(other.send(0))
    assert published == []
    assert str(result) == "1 not due"
    assert ordered.calls == other.calls == []


def test_what_else_its_message_names_runs(published: list[int]) -> None:
    ordered, other = Ordered(), Ordered()
    own = ordered.send_all(range(3))
    result = ordered.run(own[0], other.send(0), *own[1:])
    assert ordered.calls == [0, 1, 2]
    assert str(result) == "3 succeeded, 1 not due"
    assert published == []


class Renamed:
    """A receiver that gets a new name while a process still knows the old one only."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.before, self.after = (f"tests.receiver_{uuid.uuid4().hex}" for _ in "ab")
        old = AsyncSignal(name=f"tests.signal_{uuid.uuid4().hex}")
        new = AsyncSignal(name=f"tests.signal_{uuid.uuid4().hex}")
        self.signal = old
        self.first = self._send(old, 1, name=self.before)
        self.second = self._send(new, 2, name=self.after, aliases=[self.before])
        self._connect(old, name=self.before)

    def _connect(self, signal: AsyncSignal, **options: Any) -> None:
        signal.connect(self._receive, ordered=True, weak=False, **options)

    def _receive(self, sender: object, n: int, **kwargs: Any) -> None:
        self.calls.append(n)

    def _send(self, signal: AsyncSignal, n: int, **options: Any) -> Any:
        self._connect(signal, **options)
        ((_, handle),) = signal.using(key="k").send(sender=None, n=n)
        signal.disconnect(self._receive)
        return handle


def test_what_waits_under_a_new_name_is_left_to_relays_by_an_old_worker(
    published: list[int],
) -> None:
    renamed = Renamed()
    process_message(renamed.before, [str(renamed.first.id)], "default")
    assert renamed.calls == [1]
    assert published == []
    soon = Delivery.objects.filter(next_check_at__lte=from_now(FOLLOW_AFTER))
    assert soon.get().pk == renamed.second.id


@needs_locks
def test_what_somebody_has_locked_is_left_to_relays(published: list[int]) -> None:
    ordered = Ordered()
    handle = ordered.send(0)
    with transaction.atomic():
        Delivery.objects.select_for_update().get(pk=handle.id)
        with in_thread(lambda: ordered.run(handle)):
            pass
    assert published == []
    assert ordered.calls == []


def test_what_was_claimed_and_not_run_is_published(published: list[int]) -> None:
    ordered = Ordered(atomic=False)
    process.size_of(ordered.name).deliveries = 100
    result = ordered.run(*ordered.send_all(range(3)), seconds=0)
    assert ordered.calls == [0]
    assert result.released == 2
    assert published == [1]
