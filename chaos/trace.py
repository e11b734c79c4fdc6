"""What the journal must know to explain a repetition: which leases were given up.

Put around functions of ``signal_tasks`` from outside, like the crash points. A line
is written before the thing it tells of is committed: it may tell of a release that
was rolled back and made again, but no release goes without its line.
"""

from __future__ import annotations

import functools
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from billiard import pool

from chaos import journal

#: The lease under which a receiver runs in this process, by the delivery's id.
leases: dict[str, int] = {}


def install() -> None:
    """Have this process write down every lease that ends without a success."""
    from signal_tasks import attempts, broker, delivery, settlement
    from signal_tasks.querysets import DeliveryQuerySet

    _before(attempts, "call", _note_lease)
    _before(settlement, "_settle_failure", _note_failure)
    _before(delivery.Shift, "_hand_back", _note_hand_back)
    _after(DeliveryQuerySet, "expired", _note_expired)
    count_messages()
    # Patience that is not a setting: a deployment waits longer before it kills, and
    # a pool process of Celery's that stops sometimes waits 30 s for an answer.
    broker.HARD_LIMIT_GRACE = 0.5
    delivery.LEASE_GRACE = 1.5
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 30
    if "FAKETIME" in os.environ:
        time.sleep = _sleep  # type: ignore[assignment]


def _sleep(seconds: float) -> None:
    """``time.sleep``, which libfaketime breaks from Python 3.11 on."""
    select.select([], [], [], seconds)


def count_messages() -> None:
    """Have this process write down which deliveries each of its messages names."""
    from signal_tasks.broker import Link

    _before(Link, "publish", _note_messages)


@contextmanager
def messages_counted() -> Iterator[None]:
    """The same, for a while."""
    from signal_tasks.broker import Link

    original = Link.publish
    count_messages()
    try:
        yield
    finally:
        Link.publish = original  # type: ignore[method-assign]


def _before(holder: Any, name: str, note: Callable[..., None]) -> None:
    function = getattr(holder, name)

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        note(*args)
        return function(*args, **kwargs)

    setattr(holder, name, watched)


def _after(holder: Any, name: str, note: Callable[[Any], None]) -> None:
    function = getattr(holder, name)

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        note(result)
        return result

    setattr(holder, name, watched)


def _note_lease(job: Any) -> None:
    leases.clear()
    leases[str(job.delivery.pk)] = job.delivery.lease


def _note_failure(outcome: Any, *_: object) -> None:
    _note_released([outcome.delivery], f"failed: {type(outcome.error).__name__}")


def _note_hand_back(_shift: object, jobs: Iterable[Any]) -> None:
    _note_released([job.delivery for job in jobs], "handed back")


def _note_messages(_link: object, messages: Iterable[Any]) -> None:
    for message in messages:
        journal.write("published", ids=message.ids)


def _note_expired(deliveries: Iterable[Any]) -> None:
    _note_released(deliveries, "lease over")


def _note_released(deliveries: Iterable[Any], why: str) -> None:
    for delivery in deliveries:
        journal.write("released", delivery=delivery.pk, lease=delivery.lease, why=why)
