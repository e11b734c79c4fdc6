"""The delivery that the running receiver is working on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from signal_tasks.exceptions import NoCurrentDelivery

#: Name under which the correlation id of a chain is stored, and that of the header
#: which begins one.
CORRELATION = "correlation_id"
#: Longest correlation id, in characters.
MAX_CORRELATION = 255

if TYPE_CHECKING:
    from signal_tasks.codec import Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentDelivery:
    """The delivery that a durable receiver runs for.

    Attributes:
        id: of the delivery.
        event_id: of the event, which the deliveries to other receivers share.
        signal: name of the signal.
        receiver: name of the receiver.
        attempt: number of this attempt, from 1.
        max_attempts: as the receiver's policy has it.
        sent_at: when the event was sent, by the database's clock.
        headers: what ``using(headers=...)`` was given.
        database: alias of the database that holds the event.
        cause_id: id of the event in whose receiver this one was sent, or None.
    """

    id: uuid.UUID
    event_id: uuid.UUID
    signal: str
    receiver: str
    attempt: int
    max_attempts: int
    sent_at: datetime
    headers: Mapping[str, Any]
    database: str
    cause_id: uuid.UUID | None = None
    _extend: Callable[[float], None] = field(repr=False)
    _correlation: str = field(repr=False, default="")
    _causes: Sequence[Sequence[str]] = field(default=(), repr=False)
    _payload: Payload | None = field(default=None, repr=False)
    _batch: Sequence[CurrentDelivery] = field(default=(), repr=False)

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt: pass it on to what must not act twice."""
        return str(self.id)

    @property
    def correlation_id(self) -> str:
        """The same text in all events that came of one: a request, a send, an import.

        The header ``correlation_id``, if the event was sent with one; else that of the
        delivery in whose receiver it was sent; else the id of the request, if
        ``contrib.requests.RequestId`` carries it; else the id of the event.
        """
        given = self.headers.get(CORRELATION) or self._correlation or self.event_id
        return str(given)[:MAX_CORRELATION]

    def extend(self, seconds: float) -> None:
        """Keep other workers away for ``seconds`` from now.

        For a receiver that takes longer than its lease. Takes effect at once, also
        inside an atomic receiver. It does not move Celery's time limits.

        Raises:
            LeaseLost: another worker may already have the delivery: stop then,
                nothing done here will count.
        """
        self._extend(seconds)


_current: ContextVar[CurrentDelivery | None] = ContextVar(
    "signal_tasks_delivery", default=None
)


def current_delivery() -> CurrentDelivery:
    """Return the delivery that the calling receiver runs for.

    Raises:
        NoCurrentDelivery: (a ``LookupError``) anywhere else, and in a batch receiver.
    """
    delivery = _current.get()
    if delivery is None:
        raise NoCurrentDelivery("current_delivery() was called outside of a receiver")
    if delivery._batch:  # noqa: SLF001
        raise NoCurrentDelivery(
            f"current_delivery() was called in {delivery.receiver}, which runs for a "
            "batch of deliveries; each item of its batch has its own as item.delivery"
        )
    return delivery


class Running(NamedTuple):
    """The causes of an event that is sent now.

    ``causes`` are those of the event that is delivered, as it has stored them.
    """

    signal: str
    receiver: str
    causes: Sequence[Sequence[str]]
    payload: Payload | None


def running() -> Running | None:
    """Return the delivery in whose receiver this code runs, or None."""
    it = _current.get()
    if it is None:
        return None
    return _running(it)


def running_all() -> Sequence[Running]:
    """Return the deliveries for which this code runs: several in a batch receiver."""
    it = _current.get()
    if it is None:
        return ()
    return [_running(each) for each in it._batch or (it,)]  # noqa: SLF001


def _running(it: CurrentDelivery) -> Running:
    return Running(it.signal, it.receiver, it._causes, it._payload)  # noqa: SLF001


def cause() -> uuid.UUID | None:
    """Return the id of the event in whose receiver this code runs, or None."""
    delivery = _current.get()
    return delivery.event_id if delivery is not None else None


def correlation() -> str:
    """Return the correlation id of the delivery in whose receiver this code runs, or "".

    That of a batch, if all of it have the same.
    """
    delivery = _current.get()
    if delivery is None:
        return ""
    if not delivery._batch:  # noqa: SLF001
        return delivery.correlation_id
    found = {each.correlation_id for each in delivery._batch}  # noqa: SLF001
    return found.pop() if len(found) == 1 else ""


def delivering_batch(
    deliveries: Sequence[CurrentDelivery],
) -> AbstractContextManager[None]:
    """Make the deliveries of a batch the current ones.

    Whatever is sent now is caused by the one with the longest chain of causes, so that
    a chain that goes round ends.
    """
    last = max(deliveries, key=lambda each: len(each._causes))  # noqa: SLF001
    return delivering(replace(last, _batch=tuple(deliveries)))


@contextmanager
def delivering(delivery: CurrentDelivery) -> Iterator[None]:
    """Make ``delivery`` the current one."""
    token = _current.set(delivery)
    try:
        yield
    finally:
        _current.reset(token)
