"""One trace from the sender over the broker to the receiver in a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.celery import CeleryInstrumentor

from signal_tasks.broker.publisher import publisher
from signal_tasks.telemetry import tracing
from tests import traces
from tests.integration.conftest import StartWorker
from tests.integration.workers import all_finished, effects, eventually
from tests.testapp.signals import failed, happened, inside
from tests.traces import Recorded, place_in, place_of, spans_in


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Trace what this process sends."""
    recorded = traces.recorded()
    recorded.exporter.clear()
    recorded.sampler.on = True
    tracing.start()
    yield recorded
    tracing.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spans.jsonl"


def ran(path: Path, number: int) -> list[dict[str, Any]]:
    """Wait for so many runs of receivers; return their spans."""
    eventually(lambda: len(spans_in(path, "run")) >= number)
    return spans_in(path, "run")


def parent_of(span: dict[str, Any]) -> tuple[int, int] | None:
    if span["parent_id"] is None:
        return None
    return int(span["context"]["trace_id"], 16), int(span["parent_id"], 16)


def test_send_publication_claim_and_run_are_one_trace(
    start_worker: StartWorker, recorded: Recorded, path: Path
) -> None:
    start_worker(TEST_TRACES=str(path))
    inside.send(sender=None, key=1)
    (run,) = ran(path, 1)
    publisher.flush(5)
    (send,), (publish,) = recorded.named("send"), recorded.named("publish")
    (claim,) = spans_in(path, "claim")
    assert parent_of(run) == parent_of(claim) == place_of(send)
    assert publish.parent is not None
    assert publish.parent.span_id == place_of(send)[1]
    assert run["attributes"]["signal_tasks.attempt"] == 1


def test_a_retry_is_a_trace_of_its_own_with_a_link(
    start_worker: StartWorker, recorded: Recorded, path: Path
) -> None:
    start_worker(TEST_TRACES=str(path))
    failed.send(sender=None, key=1, times=1)
    first, second = ran(path, 2)
    (send,) = recorded.named("send")
    assert parent_of(first) == place_of(send)
    assert first["status"]["status_code"] == "ERROR"
    assert parent_of(second) is None
    assert [place_in(link) for link in second["links"]] == [place_of(send)]


def test_the_instrumentation_of_celery_beside_it_does_no_harm(
    start_worker: StartWorker, recorded: Recorded, path: Path
) -> None:
    start_worker(TEST_TRACES=str(path), TEST_CELERY_TRACES="1")
    instrumentor = CeleryInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument()
    try:
        for key in range(20):
            happened.send(sender=None, key=key)
        runs = ran(path, 40)
    finally:
        instrumentor.uninstrument()
    eventually(all_finished)
    assert len(effects("atomic")) == len(effects("outside")) == 20
    sends = {place_of(send) for send in recorded.named("send")}
    assert {parent_of(run) for run in runs} == sends
    messages = [s for s in path.read_text().splitlines() if '"celery.state"' in s]
    assert messages
