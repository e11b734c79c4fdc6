"""The place at which tracing is hooked in: nothing is traced unless somebody does.

``telemetry.tracing`` puts its tracer here, so the engine knows nothing of the library
behind it, and asks one variable where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

#: Name under which the trace of a send is stored with its event; see Note [Context].
TRACEPARENT = "traceparent"

#: What a span is about, by the names of its attributes.
Facts = Mapping[str, Any]


class Tracer(Protocol):
    """Makes the spans of an event's life."""

    def traceparent(self) -> str | None:
        """Return the current span as W3C text; None if none is recorded."""

    def send(self, signal: str, facts: Facts) -> AbstractContextManager[Any]:
        """Return the span around the writes of a send."""

    def publish(
        self, receivers: Collection[str], traces: Collection[str], facts: Facts
    ) -> AbstractContextManager[Callable[[BaseException], None]]:
        """Return the span around a publication of what these traces have sent.

        It yields a function that records an error.
        """

    def claimed(
        self, receiver: str, traces: Collection[str], facts: Facts, *, started: int
    ) -> None:
        """Record a claim that began at ``started`` (nanoseconds) and has ended now."""

    def run(
        self, receiver: str, trace: str | None, facts: Facts, *, first: bool
    ) -> AbstractContextManager[Any]:
        """Return the span around a call of the receiver."""

    def run_batch(
        self, receiver: str, traces: Collection[str], facts: Facts
    ) -> AbstractContextManager[Any]:
        """Return the span around a call of a batch receiver."""


#: The tracer of this process, if it has one.
active: Tracer | None = None


def start(tracer: Tracer | None) -> None:
    """Trace with this tracer from now on, or, with None, not any more."""
    global active
    active = tracer


def traceparent() -> str | None:
    """Return the current span as W3C text; None if none is recorded."""
    return None if active is None else active.traceparent()
