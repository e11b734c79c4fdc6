"""A worker of ordered deliveries whose database is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, connection
from django.db.backends.signals import connection_created

from signal_tasks import DeliveryHandle, current_delivery
from signal_tasks.delivery import turns
from signal_tasks.delivery.process import process
from signal_tasks.relay.recovery import recover
from tests.signal_tasks.ordering.steps import Ordered, in_thread

pytestmark = pytest.mark.django_db(transaction=True)


class Outage:
    """A connection is lost, and the next one comes when a lease is over for others."""

    def __init__(self, ordered: Ordered, waiting: DeliveryHandle) -> None:
        self.is_on = self._is_lost = False
        self._ordered = ordered
        self._waiting = waiting

    def lose(self, execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        if self.is_on and not self._is_lost:
            self._is_lost = True
            raise InterfaceError("the connection is lost")
        return execute(sql, params, many, context)

    def end(self, **kwargs: Any) -> None:
        if self.is_on:
            self.is_on = False
            with in_thread(self._meet_others):
                pass

    def _meet_others(self) -> None:
        """Recover what waits, as a relay does; move it away, as another worker does."""
        until = time.monotonic() + 30
        while not recover("default") and time.monotonic() < until:
            time.sleep(0.01)
        self._ordered.run(self._waiting)


def test_what_has_lost_its_lease_until_the_one_before_it_is_written_runs_at_once(
    settings: Any, monkeypatch: pytest.MonkeyPatch, connected: Callable[..., None]
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "LEASE": 1.0}
    monkeypatch.setattr(turns, "HELD_FOR", 0.5)
    ordered = Ordered(atomic=False)
    first, second = ordered.send_all(range(2))
    outage = Outage(ordered, second)

    def begin(n: int) -> None:
        if n == 0:
            current_delivery().extend(600)
            outage.is_on = True

    ordered.during = begin
    connected(connection_created, outage.end)
    process.size_of(ordered.name).deliveries = 100
    with connection.execute_wrapper(outage.lose):
        ordered.run(first, second)
    assert ordered.calls == [0, 1]
    assert ordered.states() == ["succeeded", "succeeded"]
