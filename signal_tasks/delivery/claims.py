"""Claim deliveries for a message: as many as may start, over a connection that works."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from django.db import Error, connections

from signal_tasks import spans
from signal_tasks.context import split_headers
from signal_tasks.db.claim import Claimed
from signal_tasks.db.errors import is_retryable
from signal_tasks.db.session import DropIfLost
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.process import process
from signal_tasks.exceptions import DecodeError
from signal_tasks.models import Delivery
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.registry.registry import Receiver
from signal_tasks.spans import TRACEPARENT
from signal_tasks.steering.gates import Permit, permit
from signal_tasks.steering.slots import claim_place

T = TypeVar("T")


class Claims:
    """The claims of one message, for its receiver."""

    def __init__(self, receiver: Receiver, database: str) -> None:
        self._receiver = receiver
        self._database = database

    def permit(self, wanted: int) -> Permit:
        """Return how many of so many may start now."""
        return self.reconnecting(lambda: permit(self._receiver, self._database, wanted))

    def claim(self, ids: Sequence[uuid.UUID], permitted: Permit) -> list[Job] | None:
        """Claim what is due of these ids; None if all places are taken."""
        return self.reconnecting(lambda: self._claim(ids, permitted))

    def reconnecting(self, ask: Callable[[], T]) -> T:
        """Ask; once more if the kept connection was broken, or led to a standby."""
        connection = connections[self._database]
        kept = connection.connection
        try:
            with DropIfLost(self._database):
                return ask()
        except Error as error:
            if kept is None or connection.in_atomic_block or not is_retryable(error):
                raise
        with DropIfLost(self._database):
            return ask()

    def _claim(self, ids: Sequence[uuid.UUID], permitted: Permit) -> list[Job] | None:
        claimed_at, started = time.monotonic(), time.time_ns()
        receiver, places = self._receiver, permitted.places
        if places is None:
            won: list[Claimed] | None = self._claim_rows(ids)
        else:
            gate = receiver.oldest_name
            won = claim_place(
                gate, self._database, places, lambda: self._claim_rows(ids)
            )
        if won is None:
            return None
        if won and spans.active is not None:
            _trace_claim(receiver.name, won, started)
        if won and process.leases is not None:
            leased = [claimed.id for claimed in won]
            process.leases.record(self._database, won[0].lease, leased)
        if permitted.probe:
            won = [replace(claimed, probe=True) for claimed in won]
        return [
            Job(claimed=claimed, receiver=receiver, claimed_at=claimed_at)
            for claimed in won
        ]

    def _claim_rows(self, ids: Sequence[uuid.UUID]) -> list[Claimed]:
        rows: DeliveryQuerySet[Delivery] = Delivery.objects.using(self._database)
        return rows.claim(
            ids,
            names=self._receiver.names,
            lease=self._receiver.lease_seconds,
            worker=process.worker_id,
            ordered=self._receiver.options.ordered,
        )


def _trace_claim(receiver: str, won: Sequence[Claimed], started: int) -> None:
    """Record a claim; of what is retried, the trace of the send is long over."""
    traces = [trace for each in won if (trace := _trace_of(each))]
    if spans.active is not None:
        facts = {"messaging.batch.message_count": len(won)}
        spans.active.claimed(receiver, traces, facts, started=started)


def _trace_of(claimed: Claimed) -> str | None:
    if not claimed.is_first:
        return None
    with suppress(DecodeError):  # told when it is run
        trace = split_headers(claimed.headers)[1].get(TRACEPARENT)
        return trace if isinstance(trace, str) else None
    return None
