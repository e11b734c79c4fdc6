"""Spans that OpenTelemetry has recorded, in memory or in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    Decision,
    Sampler,
    SamplingResult,
)

#: Trace and span.
Place = tuple[int, int]


class Switch(Sampler):
    """Records everything, or nothing."""

    on = True

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        result = ALWAYS_ON.should_sample(*args, **kwargs)
        return result if self.on else SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        return "Switch"


class Recorded:
    """The spans of this process that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.sampler = Switch()
        provider = TracerProvider(sampler=self.sampler)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        trace.set_tracer_provider(provider)

    def named(self, word: str) -> list[ReadableSpan]:
        """Return the spans whose name begins with that word."""
        spans = self.exporter.get_finished_spans()
        return [span for span in spans if span.name.split()[0] == word]


@cache
def recorded() -> Recorded:
    """Record spans in memory; a provider can be set once in a process."""
    return Recorded()


class FileExporter(SpanExporter):
    """Appends each span to a file, which several processes may share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self.path.open("a") as file:
            file.writelines(span.to_json(indent=None) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


def record_in(path: str) -> None:
    """Record the spans of this process in a file."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter(Path(path))))
    trace.set_tracer_provider(provider)


def spans_in(path: Path, word: str) -> list[dict[str, Any]]:
    """Return the spans of a file whose name begins with that word."""
    lines = path.read_text().splitlines() if path.exists() else []
    spans = (json.loads(line) for line in lines if line.endswith("}"))
    return [span for span in spans if span["name"].split()[0] == word]


def place_of(span: ReadableSpan) -> Place:
    """Return the trace and the id of a span."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def place_in(span: dict[str, Any]) -> Place:
    """Return the same of a span from a file, or of a link in one."""
    context = span["context"]
    return int(context["trace_id"], 16), int(context["span_id"], 16)
