"""Trace the engine: record in the journal when a lease is given up, and why.

The checker needs these records to explain why a receiver ran again. Each is written
before the release commits: a release may be recorded, rolled back and recorded
again, but none is missing. Importing this module needs Django's app registry.
"""

# The engine offers no hooks for this suite: it needs the private functions.
# ruff: noqa: SLF001

from __future__ import annotations

import os
import select
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from billiard import pool

from chaos import journal
from chaos.hooks import Target
from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.messages import Message
from signal_tasks.delivery import attempt, writing
from signal_tasks.delivery.call import Job, call
from signal_tasks.delivery.failures import write_failure
from signal_tasks.delivery.message import MessageRun
from signal_tasks.delivery.outcome import Outcome
from signal_tasks.models import Delivery
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.registry import registry as registry_module

PUBLISH = Target(BrokerConnection, BrokerConnection._send)

#: The lease under which a receiver runs in this thread or greenlet.
lease: ContextVar[int] = ContextVar("lease", default=0)


def install() -> None:
    """Have this process record every lease that ends without success."""
    Target(attempt, call).call_before(_remember_lease)
    Target(writing, write_failure).call_before(_record_failure)
    Target(MessageRun, MessageRun.release).call_before(_record_release)
    expired = Target(DeliveryQuerySet, DeliveryQuerySet.expired_leases)
    expired.call_after(_record_expired)
    record_published_messages()
    _shorten_waits()
    if "FAKETIME" in os.environ:
        time.sleep = _sleep  # type: ignore[assignment]


def record_published_messages() -> None:
    """Have this process record the delivery ids of each message it publishes."""
    PUBLISH.call_before(_record_messages)


@contextmanager
def published_messages_recorded() -> Iterator[None]:
    """Record the messages that are published within this context."""
    original = PUBLISH.current
    record_published_messages()
    try:
        yield
    finally:
        PUBLISH.replace(original)


def _shorten_waits() -> None:
    """Shorten the waits that no setting changes.

    A deployment waits longer before it kills a process. A pool process of Celery
    that stops under load sometimes waits 30 s for its main process.
    """
    registry_module.HARD_LIMIT_GRACE = 0.5
    registry_module.LEASE_GRACE = 1.5
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 30


def _sleep(seconds: float) -> None:
    """Sleep without ``time.sleep``, which libfaketime breaks since Python 3.11."""
    select.select([], [], [], seconds)


def _remember_lease(job: Job) -> None:
    lease.set(job.claimed.lease)


def _record_failure(outcome: Outcome, *_: object) -> None:
    claimed = outcome.claimed
    _record(claimed.id, claimed.lease, f"failed: {type(outcome.error).__name__}")


def _record_release(_run: MessageRun, jobs: Iterable[Job]) -> None:
    for job in jobs:
        _record(job.claimed.id, job.claimed.lease, "released")


def _record_expired(deliveries: Iterable[Delivery]) -> None:
    for row in deliveries:
        _record(row.pk, row.lease, "lease expired")


def _record_messages(
    _connection: BrokerConnection, messages: Iterable[Message]
) -> None:
    for message in messages:
        journal.write("published", ids=message.ids)


def _record(delivery: uuid.UUID, lease: int, reason: str) -> None:
    journal.write("released", delivery=delivery, lease=lease, reason=reason)
