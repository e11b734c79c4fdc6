"""Traces by OpenTelemetry; needs the extra ``otel`` (opentelemetry-api).

``SIGNAL_TASKS["TRACING"] = True`` starts it. The project brings the SDK and the
exporter; without them nothing is recorded, and nothing is stored with events.

# Note [Traces]
The trace of a send travels with the event, if it is recorded. The first attempt of a
delivery is a child of the send. Retries come minutes or days later, so each is a trace
of its own with a link to the send. A publication, a claim or a call of a batch receiver
is for many events at once: it is a child if all of them belong to one trace, and has links to them otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from signal_tasks import spans
from signal_tasks.exceptions import Retry
from signal_tasks.spans import TRACEPARENT, Facts

#: Links of one span.
MAX_LINKS = 32
SYSTEM = "django-signal-tasks"


def start() -> None:
    """Trace what this process does from now on.

    Raises:
        ImproperlyConfigured: the extra ``otel`` is not installed.
    """
    spans.start(OpenTelemetry())


def stop() -> None:
    """Trace nothing any more."""
    spans.start(None)


class OpenTelemetry:
    """The tracer of ``signal_tasks``; see Note [Traces]."""

    def __init__(self) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation import tracecontext
        except ImportError as error:
            raise ImproperlyConfigured(
                "SIGNAL_TASKS['TRACING'] needs opentelemetry-api: "
                "pip install 'django-signal-tasks[otel]'"
            ) from error
        self._trace: Any = trace
        self._text: Any = tracecontext.TraceContextTextMapPropagator()
        self._tracer: Any = trace.get_tracer("signal_tasks")

    def traceparent(self) -> str | None:
        """Return the current span as W3C text; None if none is recorded."""
        if not self._trace.get_current_span().is_recording():
            return None
        carrier: dict[str, str] = {}
        self._text.inject(carrier)
        return carrier.get(TRACEPARENT)

    @contextmanager
    def send(self, signal: str, facts: Facts) -> Iterator[Any]:
        """Span the writes of a send; a child of whatever is traced around it."""
        with self._tracer.start_as_current_span(
            f"send {signal}",
            kind=self._trace.SpanKind.PRODUCER,
            attributes=_attributes("send", signal, facts),
        ) as span:
            yield span

    @contextmanager
    def publish(
        self, receivers: Collection[str], traces: Collection[str], facts: Facts
    ) -> Iterator[Callable[[BaseException], None]]:
        """Span a publication to the broker."""
        name = next(iter(receivers)) if len(receivers) == 1 else ""
        with self._tracer.start_as_current_span(
            f"publish {name}".rstrip(),
            kind=self._trace.SpanKind.PRODUCER,
            attributes=_attributes("publish", name, facts),
            **self._place(traces),
        ) as span:
            yield partial(self._note, span)

    def claimed(
        self, receiver: str, traces: Collection[str], facts: Facts, *, started: int
    ) -> None:
        """Record a claim that has ended now."""
        self._tracer.start_span(
            f"claim {receiver}",
            start_time=started,
            attributes=_attributes("receive", receiver, facts),
            **self._place(traces),
        ).end(time.time_ns())

    @contextmanager
    def run(
        self, receiver: str, trace: str | None, facts: Facts, *, first: bool
    ) -> Iterator[Any]:
        """Span a call of the receiver, and record what it raises.

        The span of the message that brought the delivery, if another library has made
        one, is linked: it is not part of the event's life.
        """
        of_send = self._remote(trace)
        of_message = self._trace.get_current_span().get_span_context()
        child = first and of_send is not None
        contexts = [None if child else of_send, of_message]
        links = [self._trace.Link(each) for each in contexts if _is_valid(each)]
        parent = self._parent(of_send if child else None)
        with self._recorded(receiver, facts, context=parent, links=links) as span:
            yield span

    @contextmanager
    def run_batch(
        self, receiver: str, traces: Collection[str], facts: Facts
    ) -> Iterator[Any]:
        """Span a call of a batch receiver, and record what it raises."""
        with self._recorded(receiver, facts, **self._place(traces)) as span:
            yield span

    @contextmanager
    def _recorded(self, receiver: str, facts: Facts, **place: Any) -> Iterator[Any]:
        """Span a call of a receiver at this place, and record what it raises."""
        with self._tracer.start_as_current_span(
            f"run {receiver}",
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_attributes("process", receiver, facts),
            record_exception=False,
            set_status_on_exception=False,
            **place,
        ) as span:
            try:
                yield span
            except BaseException as error:
                self._note(span, error)
                raise

    def _note(self, span: Any, error: BaseException) -> None:
        """Record what was raised; a receiver that asks for a retry has not failed."""
        span.set_attribute("error.type", type(error).__qualname__)
        if isinstance(error, Exception) and not isinstance(error, Retry):
            span.record_exception(error)
            span.set_status(self._trace.StatusCode.ERROR, type(error).__qualname__)

    def _place(self, traces: Collection[str]) -> Mapping[str, Any]:
        """Return the parent, or the links, of a span for events of these traces.

        Where something is traced already, its span is the parent.
        """
        found = [self._remote(trace) for trace in sorted(set(traces))[:MAX_LINKS]]
        contexts = [each for each in found if each is not None]
        around = self._trace.get_current_span().get_span_context()
        if len(contexts) == 1 and not around.is_valid:
            return {"context": self._parent(contexts[0])}
        return {"links": [self._trace.Link(each) for each in contexts]}

    def _remote(self, trace: object) -> Any:
        """Return the span context of a stored trace; None if it is none."""
        if not isinstance(trace, str):
            return None
        context = self._text.extract({TRACEPARENT: trace}, self._parent(None))
        found = self._trace.get_current_span(context).get_span_context()
        return found if found.is_valid else None

    def _parent(self, of_send: Any) -> Any:
        """Return the context of a child of that span; without one, of a root."""
        span = self._trace.INVALID_SPAN
        if of_send is not None:
            span = self._trace.NonRecordingSpan(of_send)
        return self._trace.set_span_in_context(span)


def _is_valid(context: Any) -> bool:
    return context is not None and bool(context.is_valid)


def _attributes(operation: str, destination: str, facts: Facts) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": destination,
        **facts,
    }
