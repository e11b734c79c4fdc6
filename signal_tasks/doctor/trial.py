"""Send a test event through the whole path, measure it, and explain what fails."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from signal_tasks import signals
from signal_tasks.broker import config
from signal_tasks.broker.publisher import publisher
from signal_tasks.conf import settings
from signal_tasks.doctor import probe
from signal_tasks.doctor.findings import Finding, ok, problem
from signal_tasks.doctor.workers import queues_of, strangers
from signal_tasks.error_text import line_of
from signal_tasks.healthcheck.waits import paused
from signal_tasks.models import Attempt, Delivery, Event, Worker
from signal_tasks.registry.naming import PROBE
from signal_tasks.registry.registry import registry
from signal_tasks.states import State

#: Time between two looks at the delivery (seconds).
LOOK_SECONDS = 0.02


@dataclass(slots=True)
class Trial:
    """A test event that was sent, and what became of it; times are seconds."""

    database: str
    queue: str | None
    row: Delivery
    send: float = 0.0
    publish: float | None = None
    start: float | None = None
    finish: float | None = None
    worker: str = ""
    errors: list[BaseException] = field(default_factory=list)

    @property
    def is_late(self) -> bool:
        """True if a relay had to publish it before a worker took it."""
        return self.start is None or self.start >= settings().REPUBLISH_AFTER

    @property
    def times(self) -> dict[str, float | None]:
        """Seconds since the event was sent."""
        found = (self.send, self.publish, self.start, self.finish)
        names = ("send", "publish", "start", "finish")
        return {
            name: None if seconds is None else round(seconds, 4)
            for name, seconds in zip(names, found, strict=True)
        }


def send_test_event(alias: str, live: Collection[Worker], timeout: float) -> Finding:
    """Send a test event, wait for its end, remove it, and return what was seen."""
    with probe.connected(_queue(queues_of(live))) as signal:
        trial = _send(signal, alias, timeout)
        try:
            return _told(trial, live, timeout)
        finally:
            Event.objects.using(alias).filter(pk=trial.row.event_id).delete()


def _queue(served: Collection[str]) -> str | None:
    """Return None for the default queue, or one that is consumed if that is not."""
    with probe.connected(None):
        default = _queue_now()
    return None if not served or default in served else min(served)


def _queue_now() -> str | None:
    """Return the queue of the test event's messages."""
    receiver = registry.receiver(PROBE)
    return None if receiver is None else config.queue_of(receiver)


def _send(signal: Any, alias: str, timeout: float) -> Trial:
    errors: list[BaseException] = []

    def failed(details: signals.PublicationFailed, **_: object) -> None:
        if details.error is not None:
            errors.append(details.error)

    signals.publication_failed.connect(failed)
    try:
        began = time.monotonic()
        ((_, handle),) = signal.using(database=alias).send(sender=None)
        sent = time.monotonic() - began
        is_published = publisher.flush(timeout) and not errors
        published = time.monotonic() - began if is_published else None
        row = _wait(handle, began + timeout)
    finally:
        signals.publication_failed.disconnect(failed)
    trial = Trial(alias, _queue_now(), row, sent, published, errors=errors)
    _measure(trial)
    return trial


def _wait(handle: Any, until: float) -> Delivery:
    rows = Delivery.objects.using(handle.database).select_related("event")
    while True:
        row: Delivery = rows.get(pk=handle.id)
        if row.finished_at is not None or time.monotonic() >= until:
            return row
        time.sleep(LOOK_SECONDS)


def _measure(trial: Trial) -> None:
    sent_at = trial.row.event.sent_at
    started_at, trial.worker = probe.read(trial.row.event.headers)
    trial.start = _seconds(sent_at, started_at)
    trial.finish = _seconds(sent_at, trial.row.finished_at)


def _seconds(since: datetime, until: datetime | None) -> float | None:
    return None if until is None else max((until - since).total_seconds(), 0.0)


def _told(trial: Trial, live: Collection[Worker], timeout: float) -> Finding:
    if trial.row.state != State.SUCCEEDED:
        text, remedy = _explained(trial, live, timeout)
        text = f"{trial.database}: {text}"
        return problem("test event", text, remedy, times=trial.times)
    text = f"{trial.database}: {_shown(trial)}"
    if trial.is_late and not config.is_eager():
        return problem(
            "test event",
            f"{text}; only a relay has published it so that a worker took it",
            _why_late(trial),
            times=trial.times,
            worker=trial.worker,
        )
    return ok("test event", text, times=trial.times, worker=trial.worker)


def _shown(trial: Trial) -> str:
    parts = [
        f"{name} {_milliseconds(seconds)}"
        for name, seconds in (
            ("sent in", trial.send),
            ("published after", trial.publish),
            ("started after", trial.start),
            ("finished after", trial.finish),
        )
        if seconds is not None
    ]
    by = f" by {trial.worker}" if trial.worker else ""
    return f"{', '.join(parts)}{by}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _why_late(trial: Trial) -> str:
    if trial.errors:
        return (
            "This process could not publish it itself; mend what the lines above say: "
            f"{line_of(trial.errors[-1])}"
        )
    return (
        "Workers listen to another broker than this process publishes to, or were busy, "
        "or somebody else took the message: compare CELERY_BROKER_URL and the queues."
    )


def _explained(
    trial: Trial, live: Collection[Worker], timeout: float
) -> tuple[str, str]:
    """Return why the test event has not succeeded, and what to do."""
    row = trial.row
    if row.state == State.RUNNING:
        text = f"a worker took it, and has not finished it within {timeout:g} s"
        return text, "Is the database locked or the worker stopped? Look at its log."
    failed = Attempt.objects.using(trial.database).filter(delivery=row.pk).last()
    if failed is not None:
        return f"it has failed: {failed.error_type}: {failed.error}", (
            "The worker's log has the traceback."
        )
    if _is_paused(row, trial.database):
        return "it waits, since it is paused", (
            "See what is paused: manage.py signal_tasks pause; then: manage.py "
            'signal_tasks resume "*"'
        )
    if row.orphaned:
        return "no worker knows its receiver", (
            "The workers run an older release of signal_tasks: restart them."
        )
    return _not_taken(trial, live, timeout)


def _is_paused(row: Delivery, database: str) -> bool:
    names, paused_signals = paused(database)
    return names is None or row.receiver in names or row.event.signal in paused_signals


def _not_taken(
    trial: Trial, live: Collection[Worker], timeout: float
) -> tuple[str, str]:
    if trial.row.parked or trial.errors:
        why = trial.row.parked or line_of(trial.errors[-1])
        return f"it could not be published: {why}", (
            "Mend what the lines above say; a relay then publishes what waits."
        )
    takers = [
        name
        for name, one in strangers(live, timeout).items()
        if trial.queue in one.queues
    ]
    if takers:
        names = ", ".join(sorted(takers))
        return f"{names} takes messages of {trial.queue!r}, and is none of ours", (
            "Stop it, or give one of both a broker database or a queue of its own: "
            'SIGNAL_TASKS = {"QUEUE": ...}'
        )
    return f"nobody has taken it from {trial.queue!r} within {timeout:g} s", (
        "Is the worker busy, or does it listen to another broker? Its broker is in its "
        "first lines. Look again later with: manage.py signal_tasks status"
    )
