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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from billiard import pool

from chaos import journal
from chaos.hooks import Target
from signal_tasks import attempts, broker, delivery, settlement
from signal_tasks.attempts import Outcome
from signal_tasks.broker import Link, Message
from signal_tasks.calls import Job, call
from signal_tasks.delivery import Shift
from signal_tasks.models import Delivery
from signal_tasks.querysets import DeliveryQuerySet

PUBLISH = Target(Link, Link.publish)

#: The leases under which receivers run in this process, by the delivery's id.
leases: dict[str, int] = {}


def install() -> None:
    """Have this process record every lease that ends without success."""
    Target(attempts, call).call_before(_remember_lease)
    Target(settlement, settlement._settle_failure).call_before(_record_failure)
    Target(Shift, Shift._hand_back).call_before(_record_release)
    Target(DeliveryQuerySet, DeliveryQuerySet.expired).call_after(_record_expired)
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
    broker.HARD_LIMIT_GRACE = 0.5
    delivery.LEASE_GRACE = 1.5
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 30


def _sleep(seconds: float) -> None:
    """Sleep without ``time.sleep``, which libfaketime breaks since Python 3.11."""
    select.select([], [], [], seconds)


def _remember_lease(job: Job) -> None:
    leases.clear()
    leases[str(job.delivery.pk)] = job.delivery.lease


def _record_failure(outcome: Outcome, *_: object) -> None:
    _record([outcome.delivery], f"failed: {type(outcome.error).__name__}")


def _record_release(_shift: Shift, jobs: Iterable[Job]) -> None:
    _record([job.delivery for job in jobs], "released")


def _record_expired(deliveries: Iterable[Delivery]) -> None:
    _record(deliveries, "lease expired")


def _record_messages(_link: Link, messages: Iterable[Message]) -> None:
    for message in messages:
        journal.write("published", ids=message.ids)


def _record(deliveries: Iterable[Delivery], reason: str) -> None:
    for row in deliveries:
        journal.write("released", delivery=row.pk, lease=row.lease, reason=reason)
