"""Traces: the first attempt is a child of the send, a retry has a link to it."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from signal_tasks import AsyncSignal, Reject, Retry, RetryPolicy
from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import publisher
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery, Event
from signal_tasks.telemetry import tracing
from signal_tasks.testing import run_pending
from tests import traces
from tests.signal_tasks.conftest import listen
from tests.traces import Recorded, place_of

pytestmark = pytest.mark.django_db(transaction=True)

NOW = RetryPolicy(max_attempts=3, backoff=0, jitter=False)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Trace what this process does."""
    recorded = traces.recorded()
    recorded.exporter.clear()
    recorded.sampler.on = True
    tracing.start()
    yield recorded
    tracing.stop()


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


@pytest.fixture
def stumbling(signal: AsyncSignal) -> Callable[[BaseException | None], None]:
    """Return a function that connects a receiver which fails the first time."""

    def connect(error: BaseException | None) -> None:
        failed: list[bool] = []

        def stumble(sender: object, **kwargs: Any) -> None:
            if error is not None and not failed:
                failed.append(True)
                raise error

        signal.connect(stumble, name="t.traced", weak=False, retry=NOW)

    return connect


def test_the_first_attempt_is_a_child_of_the_send(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(None)
    ((_, handle),) = signal.send(sender=None)
    run_pending()
    (send,), (run,) = recorded.named("send"), recorded.named("run")
    assert send.name == f"send {signal.name}"
    assert run.name == "run t.traced"
    assert parent(run) == place_of(send)
    assert send.kind is trace.SpanKind.PRODUCER
    assert run.kind is trace.SpanKind.CONSUMER
    attributes = run.attributes or {}
    assert attributes["signal_tasks.delivery_id"] == str(handle.id)
    assert attributes["messaging.message.id"] == str(handle.event_id)
    assert attributes["signal_tasks.attempt"] == 1


def test_the_send_is_a_child_of_the_request(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(None)
    with trace.get_tracer("tests").start_as_current_span("request") as request:
        signal.send(sender=None)
    (send,) = recorded.named("send")
    assert parent(send) == (
        request.get_span_context().trace_id,
        request.get_span_context().span_id,
    )


def test_a_retry_is_a_trace_of_its_own_with_a_link_to_the_send(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(ValueError("no"))
    signal.send(sender=None)
    run_pending()
    run_pending()
    (send,) = recorded.named("send")
    first, second = recorded.named("run")
    assert parent(first) == place_of(send)
    assert parent(second) is None
    assert place_of(second)[0] != place_of(send)[0]
    assert links(second) == [place_of(send)]


def test_a_replay_is_a_trace_of_its_own(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(Reject("no"))
    signal.send(sender=None)
    run_pending()
    Delivery.objects.replay()
    run_pending()
    (send,) = recorded.named("send")
    again = recorded.named("run")[1]
    assert parent(again) is None
    assert links(again) == [place_of(send)]


def test_an_error_of_a_receiver_is_recorded(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(ValueError("no"))
    signal.send(sender=None)
    run_pending()
    run = recorded.named("run")[0]
    assert run.status.status_code is trace.StatusCode.ERROR
    assert [event.name for event in run.events] == ["exception"]


def test_to_ask_for_a_retry_is_no_error(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(Retry(after=10))
    signal.send(sender=None)
    run_pending()
    (run,) = recorded.named("run")
    assert run.status.status_code is trace.StatusCode.UNSET
    assert (run.attributes or {})["error.type"] == "Retry"
    assert not run.events


def test_what_a_receiver_sends_is_a_part_of_its_trace(
    signal: AsyncSignal, recorded: Recorded
) -> None:
    second = AsyncSignal(name=f"{signal.name}.second")
    listen(second)

    def send_on(sender: object, **kwargs: Any) -> None:
        second.send(sender=None)

    signal.connect(send_on, name="t.sending", weak=False)
    signal.send(sender=None)
    run_pending()
    runs = {span.name: span for span in recorded.named("run")}
    sends = {span.name: span for span in recorded.named("send")}
    assert parent(sends[f"send {second.name}"]) == place_of(runs["run t.sending"])
    assert len({place_of(span)[0] for span in (*runs.values(), *sends.values())}) == 1


def test_an_async_receiver_runs_in_its_span(
    signal: AsyncSignal, recorded: Recorded
) -> None:
    found = []

    async def look(sender: object, **kwargs: Any) -> None:
        found.append(trace.get_current_span().get_span_context().span_id)

    signal.connect(look, name="t.async", weak=False)
    signal.send(sender=None)
    run_pending()
    (run,) = recorded.named("run")
    assert found == [place_of(run)[1]]


def test_one_claim_is_a_child_and_several_have_links(
    signal: AsyncSignal, recorded: Recorded
) -> None:
    # A name as of no other test, and several first: the next claim is as large as the
    # time of this one lets it be.
    listen(signal, name="t.claimed")
    for _ in range(3):
        signal.send(sender=None)
    pending = Delivery.objects.filter(state="pending").values_list("pk", flat=True)
    process_message(
        "t.claimed", [str(pk) for pk in pending], "default", seconds=math.inf
    )
    (claim,) = recorded.named("claim")
    assert parent(claim) is None
    assert sorted(links(claim)) == sorted(map(place_of, recorded.named("send")))
    recorded.exporter.clear()
    signal.send(sender=None)
    run_pending()
    (send,), (claim,) = recorded.named("send"), recorded.named("claim")
    assert parent(claim) == place_of(send)


def test_a_publication_is_a_child_of_its_send(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(None)
    signal.send(sender=None)
    (send,) = recorded.named("send")
    trace_of_send = Event.objects.get().context_mapping()["traceparent"]
    request = PublishRequest(
        receiver="t.traced",
        database="default",
        ids=[str(Delivery.objects.get().pk)],
        trace=trace_of_send,
    )
    publisher.flush(5)
    recorded.exporter.clear()
    BrokerConnection().publish([request])
    (publish,) = recorded.named("publish")
    assert parent(publish) == place_of(send)


def test_a_publication_that_fails_says_so(
    recorded: Recorded, stumbling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumbling(None)
    monkeypatch.setattr("celery.app.task.Task.apply_async", refuse)
    request = PublishRequest(
        receiver="t.traced",
        database="default",
        ids=["1"],
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    BrokerConnection().publish([request])
    (publish,) = recorded.named("publish")
    assert publish.status.status_code is trace.StatusCode.ERROR


def refuse(*args: Any, **kwargs: Any) -> None:
    raise OSError("refused")


# -- what is stored ---------------------------------------------------------------


def test_a_trace_is_stored_only_while_it_is_recorded(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(None)
    signal.using(headers={"a": 1}).send(sender=None)
    event = Event.objects.get()
    assert event.header_mapping() == {"a": 1}
    assert set(event.context_mapping()) == {"traceparent"}
    event.delete()
    recorded.sampler.on = False
    signal.send(sender=None)
    assert Event.objects.get().headers == ""


def test_without_tracing_a_stored_trace_is_ignored(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(None)
    signal.send(sender=None)
    tracing.stop()
    (ran,) = run_pending()
    assert ran.state == "succeeded"
    assert recorded.named("run") == []


@pytest.mark.parametrize("damaged", ['"nonsense"', '"00-00-00-00"', "7", "null"])
def test_a_damaged_trace_does_no_harm(
    damaged: str, signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(None)
    signal.send(sender=None)
    Event.objects.update(headers=f'[{{}}, {{"traceparent": {damaged}}}]')
    (ran,) = run_pending()
    assert ran.state == "succeeded"
    (run,) = recorded.named("run")
    assert parent(run) is None


def test_no_argument_is_in_a_span(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(None)
    with transaction.atomic():
        signal.send(sender=None, password="of-nobody")
    run_pending()
    spans = recorded.exporter.get_finished_spans()
    assert len(spans) >= 3
    assert "of-nobody" not in "".join(span.to_json() for span in spans)


WITHOUT = """
import sys, django
sys.modules["opentelemetry"] = None
django.setup()
from signal_tasks.telemetry import tracing
try:
    tracing.start()
except django.core.exceptions.ImproperlyConfigured as error:
    print(error)
"""


def test_without_the_extra_the_error_names_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert "django-signal-tasks[otel]" in done.stdout


def test_a_send_with_a_dedupe_key_is_traced_too(
    signal: AsyncSignal, recorded: Recorded, stumbling: Any
) -> None:
    stumbling(None)
    signal.using(dedupe_key="1").send(sender=None)
    run_pending()
    (send,), (run,) = recorded.named("send"), recorded.named("run")
    assert parent(run) == place_of(send)


def test_a_call_for_several_has_links_to_their_sends(
    signal: AsyncSignal, recorded: Recorded
) -> None:
    def work_off(batch: Any, **kwargs: Any) -> Any:
        if len(batch) > 1:
            raise ValueError("too many")
        return batch

    signal.connect(work_off, name="t.batched", weak=False, batch=10)
    for _ in range(2):
        signal.send(sender=None)
    run_pending()
    sends = [place_of(send) for send in recorded.named("send")]
    together, *alone = recorded.named("run")
    assert together.name == "run t.batched"
    assert sorted(links(together)) == sorted(sends)
    assert together.attributes is not None
    assert together.attributes["messaging.batch.message_count"] == 2
    assert together.attributes["error.type"] == "ValueError"
    assert {parent(each) for each in alone} == set(sends)
