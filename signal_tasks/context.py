"""The delivery that the running receiver is working on, and the context it needs.

# Note [Context]
What a receiver needs around it that is not an argument (a tenant, a language) is
carried by hooks: the classes that ``SIGNAL_TASKS["CONTEXT"]`` names. ``send()`` asks
each for a value; the worker restores each value before it decodes the payload, and
runs a delivery in no other context than that.

The values are stored beside the headers: then the column holds a list of both, where
without hooks it holds the headers alone. So neither can be taken for the other. Under
names that no hook has, the causes of an event that was sent inside of a receiver are
stored with them, its correlation id, and the trace of its send. A worker that can do
nothing with a trace ignores it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from signal_tasks import spans, stored_json
from signal_tasks.conf import settings
from signal_tasks.error_text import printable
from signal_tasks.exceptions import DecodeError, NoCurrentDelivery
from signal_tasks.spans import TRACEPARENT

#: Name under which the correlation id of a chain is stored, and that of the header
#: which begins one.
CORRELATION = "correlation_id"
#: Name of the hook whose value is the correlation id where no other is given.
REQUEST = "request_id"
#: Names under which values are stored that belong to no hook.
OWN_NAMES = frozenset({TRACEPARENT, CORRELATION})
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
        NoCurrentDelivery: (a ``LookupError``) anywhere else.
    """
    delivery = _current.get()
    if delivery is None:
        raise NoCurrentDelivery("current_delivery() was called outside of a receiver")
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
    return Running(it.signal, it.receiver, it._causes, it._payload)  # noqa: SLF001


def cause() -> uuid.UUID | None:
    """Return the id of the event in whose receiver this code runs, or None."""
    delivery = _current.get()
    return delivery.event_id if delivery is not None else None


def carried_correlation(carried: Mapping[str, Any]) -> str:
    """Return the correlation id that travels in a carried context, or nothing."""
    return str(carried.get(CORRELATION) or carried.get(REQUEST) or "")


@contextmanager
def delivering(delivery: CurrentDelivery) -> Iterator[None]:
    """Make ``delivery`` the current one."""
    token = _current.set(delivery)
    try:
        yield
    finally:
        _current.reset(token)


# -- context of the sender --------------------------------------------------------


#: The name under which the chain of causes is stored.
CAUSES = "signal_tasks.causes"


class ContextHook(Protocol):
    """Carries one part of the sender's context to the receivers.

    The class is made once in a process, without arguments. One that carries the
    PostgreSQL schemas of the sender says so with ``carries_schemas = True``.

    Attributes:
        name: under which its values are stored; never change it.
    """

    name: str

    def capture(self) -> Any:
        """Return a JSON value for what is to be restored, or None for nothing.

        Called in ``send()``; what it raises propagates, and nothing is written.
        """

    def restore(self, value: Any) -> AbstractContextManager[Any]:
        """Return a context manager around decoding and the receiver.

        What it raises on entry makes a dead letter (``undecodable``), except for
        ``Retry``, ``Reject`` and a lost connection to the database.
        """


def hooks() -> Sequence[ContextHook]:
    """Return the hooks of ``SIGNAL_TASKS["CONTEXT"]``.

    Raises:
        ImproperlyConfigured: a path leads to no such class.
    """
    paths = settings().CONTEXT
    return _hooks(tuple(paths)) if paths else ()


@lru_cache(maxsize=16)
def _hooks(paths: tuple[str, ...]) -> Sequence[ContextHook]:
    made = [_hook(path) for path in paths]
    names = [hook.name for hook in made]
    if len(set(names)) < len(names):
        raise ImproperlyConfigured(
            f"Classes of SIGNAL_TASKS['CONTEXT'] share a name: {', '.join(names)}."
        )
    if taken := OWN_NAMES.intersection(names):
        raise ImproperlyConfigured(
            f"The name {min(taken)!r} of a class of SIGNAL_TASKS['CONTEXT'] is taken."
        )
    return tuple(made)


def _hook(path: str) -> ContextHook:
    try:
        hook: ContextHook = import_string(path)()
    except (ImportError, TypeError) as error:
        raise ImproperlyConfigured(
            f"SIGNAL_TASKS['CONTEXT'] names {path!r}: {error}"
        ) from error
    methods = (getattr(hook, "capture", None), getattr(hook, "restore", None))
    if not all(map(callable, methods)) or not isinstance(
        getattr(hook, "name", None), str
    ):
        raise ImproperlyConfigured(
            f"SIGNAL_TASKS['CONTEXT'] names {path!r}, which needs a name (a string) "
            "and the methods capture() and restore(value)."
        )
    return hook


def carries_schemas() -> bool:
    """Return True if a hook carries the PostgreSQL schemas of the sender."""
    return any(getattr(hook, "carries_schemas", False) for hook in hooks())


class StoredContext(NamedTuple):
    """The context of a send in the columns of its event.

    Attributes:
        headers: the headers together with the captured context and causes, as text.
        correlation: the correlation id, to search by; None if it is the event's id.
    """

    headers: str
    correlation: str | None


def stored_context(
    headers: Mapping[str, Any] | None, causes: Sequence[Sequence[str]] = ()
) -> StoredContext:
    """Return the headers, and whatever is carried with them, as they are stored.

    Raises:
        TypeError: a hook captures something else than a JSON value.
    """
    carried: dict[str, Any] = {CAUSES: causes} if causes else {}
    for hook in hooks():
        if (value := hook.capture()) is not None:
            _check_json(hook.name, value)
            carried[hook.name] = value
    headers = headers or {}
    carried |= _own_context(headers, carried)
    if not headers and not carried:
        return StoredContext("", None)
    text = json.dumps([headers, carried] if carried else headers)
    found = headers.get(CORRELATION) or carried_correlation(carried)
    return StoredContext(text, stored_correlation(found) if found else None)


def stored_correlation(text: object) -> str:
    """Return a correlation id as the column holds it."""
    return printable(str(text)[:MAX_CORRELATION])[:MAX_CORRELATION]


def _own_context(
    headers: Mapping[str, Any], carried: Mapping[str, Any]
) -> dict[str, str]:
    """Return the trace and the correlation id, where they are not known without."""
    own = {}
    if trace := spans.traceparent():
        own[TRACEPARENT] = trace
    delivery = _current.get()
    if delivery is not None and not headers.get(CORRELATION):
        correlation = delivery.correlation_id
        if correlation != carried_correlation(carried):
            own[CORRELATION] = correlation
    return own


def _check_json(name: str, value: object) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The context {name!r} cannot travel; capture() has to return a JSON "
            f"value: {error}"
        ) from error


def split_headers(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the headers and the context that ``stored_context`` has put together.

    Raises:
        DecodeError: somebody has damaged the text since.
    """
    if not text:
        return {}, {}
    try:
        found = stored_json.read(text)
    except DecodeError as error:
        raise DecodeError(f"the headers are damaged: {error}") from error
    headers, carried = found if _is_pair(found) else (found, {})
    if not (isinstance(headers, dict) and isinstance(carried, dict)):
        raise DecodeError("the headers are damaged: they are not an object")
    return headers, carried


def _is_pair(found: object) -> bool:
    return isinstance(found, list) and len(found) == 2
