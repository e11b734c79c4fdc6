"""The families of metrics, with a sample for each outbox and receiver.

``docs/reference/metrics.md`` is the table of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from signal_tasks.broker.config import queue_of
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.timeouts import TooSlow
from signal_tasks.models import History
from signal_tasks.models.history import (
    ALL,
    ATTEMPTS,
    COLUMNS,
    OUTCOMES,
    RELAYS,
    RUN,
    SECONDS,
    TOTAL,
    TRIES,
    WAIT,
)
from signal_tasks.registry.registry import registry
from signal_tasks.telemetry import gauges
from signal_tasks.telemetry.gauges import Gauges, Load

#: Receivers of an outbox whose counters are shown, by name.
MAX_RECEIVERS = 1000

UP = "signal_tasks_up"

Totals = Mapping[str, Mapping[str, float]]


def client() -> Any:
    """Return ``prometheus_client``, or raise ``ImproperlyConfigured``."""
    try:
        import prometheus_client
        import prometheus_client.exposition
        import prometheus_client.metrics_core
    except ImportError as error:
        raise ImproperlyConfigured(
            "Metrics need prometheus_client: pip install 'django-signal-tasks[metrics]'"
        ) from error
    return prometheus_client


class _Family:
    """Makes the families of one scrape, with a sample for each outbox and receiver."""

    def __init__(self, make: Callable[..., Any], labels: Sequence[str]) -> None:
        self._make, self._labels = make, ("database", *labels)
        self.made: dict[str, Any] = {}

    def add(
        self, name: str, help_text: str, labels: Sequence[str], *value: Any
    ) -> None:
        """Add a sample to the family of that name."""
        if name not in self.made:
            self.made[name] = self._make(
                f"signal_tasks_{name}", help_text, labels=self._labels
            )
        self.made[name].add_metric(labels, *value)


def is_up(found: Iterable[Any]) -> bool:
    """Return True if all outboxes could be read."""
    up = (family for family in found if family.name == UP)
    return all(sample.value for family in up for sample in family.samples)


def families() -> Iterator[Any]:
    """Yield all families as they are now; a database that fails is down in ``up``."""
    core = client().metrics_core
    receivers = core.GaugeMetricFamily(
        "signal_tasks_receiver_info",
        "Receivers of this process, with their signal and queue.",
        labels=("receiver", "signal", "queue"),
    )
    for receiver in registry.receivers():
        for signal in registry.signal_names(receiver):
            labels = (receiver.name, signal, queue_of(receiver) or "")
            receivers.add_metric(labels, 1)
    yield receivers
    up = core.GaugeMetricFamily(
        UP, "Whether the outbox could be read.", labels=("database",)
    )
    found: list[_Family] = []
    for database in outbox_aliases():
        try:
            totals, now = _totals(database), gauges.read(database)
        except (Error, TooSlow):
            up.add_metric((database,), 0)
            continue
        up.add_metric((database,), 1)
        found += [*_counters(database, totals), *_gauges(database, now)]
    yield up
    yield from _merged(found)


def _merged(found: Iterable[_Family]) -> Iterable[Any]:
    """Return each family once, with the samples of all outboxes."""
    merged: dict[str, Any] = {}
    for family in found:
        for name, made in family.made.items():
            if name in merged:
                merged[name].samples += made.samples
            else:
                merged[name] = made
    return merged.values()


def _totals(database: str) -> Totals:
    """Return the totals of each receiver; zeros for one that has done nothing yet.

    So that Prometheus sees the first of each as an increase.
    """
    zeros = dict.fromkeys(COLUMNS, 0)
    names = [receiver.name for receiver in registry.receivers()]
    known = dict.fromkeys((ALL, *names), zeros)
    rows = History.objects.using(database).filter(step=TOTAL).order_by("receiver")
    rows = rows.values("receiver", *COLUMNS)[:MAX_RECEIVERS]
    return known | {row["receiver"]: row for row in rows}


def _counters(database: str, totals: Totals) -> Iterator[_Family]:
    core = client().metrics_core
    attempts = _Family(core.CounterMetricFamily, ("receiver", "outcome"))
    counters = _Family(core.CounterMetricFamily, ("receiver",))
    histograms = _Family(core.HistogramMetricFamily, ("receiver",))
    relays = _Family(core.CounterMetricFamily, ())
    for receiver, counts in totals.items():
        if receiver == ALL:
            for name in (*RELAYS, "publication_failures"):
                relays.add(name, HELP[name], (database,), counts[name])
            continue
        for outcome in OUTCOMES:
            labels = (database, receiver, outcome)
            attempts.add("attempts", HELP["attempts"], labels, counts[outcome])
        for name in ("released", "fenced"):
            counters.add(name, HELP[name], (database, receiver), counts[name])
        for name, bins, bounds, total in HISTOGRAMS:
            numbers = list(accumulate(counts[each] for each in bins))
            limits = [*(str(float(bound)) for bound in bounds), "+Inf"]
            buckets = list(zip(limits, numbers, strict=True))
            own = (database, receiver)
            histograms.add(name, HELP[name], own, buckets, counts[total])
    yield from (attempts, counters, histograms, relays)


def _gauges(database: str, now: Gauges) -> Iterator[_Family]:
    core = client().metrics_core
    by_state = _Family(core.GaugeMetricFamily, ("receiver", "state"))
    by_queue = _Family(core.GaugeMetricFamily, ("receiver", "queue"))
    by_receiver = _Family(core.GaugeMetricFamily, ("receiver",))
    single = _Family(core.GaugeMetricFamily, ())
    for receiver, load in now.receivers.items():
        labels = (database, receiver)
        for state in ("pending", "running", "dead"):
            value = getattr(load, state)
            by_state.add("deliveries", HELP["deliveries"], (*labels, state), value)
        for why, number in load.held.items():
            by_state.add("held_deliveries", HELP["held"], (*labels, why), number)
        queue = _queue(receiver)
        by_queue.add("due_deliveries", HELP["due"], (*labels, queue), load.due)
        name = "oldest_wait_seconds"
        by_queue.add(name, HELP[name], (*labels, queue), load.oldest_wait)
        for name, value in _facts(receiver, load, now):
            by_receiver.add(name, HELP[name], labels, value)
    for name in ("workers", "relays", "broker_failures"):
        shown = "workers_with_broker_failures" if name == "broker_failures" else name
        single.add(shown, HELP[name], (database,), getattr(now, name))
    single.add("counts_complete", HELP["complete"], (database,), int(now.complete))
    yield from (by_state, by_queue, by_receiver, single)


def _facts(receiver: str, load: Load, now: Gauges) -> Iterator[tuple[str, float]]:
    yield "orphaned_deliveries", load.orphaned
    yield "parked_deliveries", load.parked
    yield "blocked_keys", load.blocked_keys
    yield "paused", int(receiver in now.paused)
    yield "breaker_open", int(receiver in now.breakers)


def _queue(name: str) -> str:
    receiver = registry.receiver(name)
    return "" if receiver is None else queue_of(receiver) or ""


HISTOGRAMS = (
    ("wait_seconds", WAIT, SECONDS, "wait_seconds"),
    ("run_seconds", RUN, SECONDS, "run_seconds"),
    ("attempts_per_delivery", TRIES, ATTEMPTS, "attempts"),
)
HELP = {
    "attempts": "Finished attempts by their outcome.",
    "released": "Deliveries that a worker published again without running them.",
    "fenced": "Attempts whose lease was over when they finished.",
    "wait_seconds": "From the due time of a delivery to its claim.",
    "run_seconds": "Run time of the receiver.",
    "attempts_per_delivery": "Attempts of deliveries that have finished.",
    "published": "Deliveries that relays published.",
    "recovered": "Deliveries that relays recovered after their lease was over.",
    "rescued": "Deliveries that relays published late, in place of their sender.",
    "publication_failures": "Publications of workers and relays that failed.",
    "deliveries": "Deliveries by state; succeeded and discarded ones are not counted.",
    "held": "Pending deliveries that are held, by the reason.",
    "due": "Pending deliveries that a worker may start now.",
    "oldest_wait_seconds": "How long the oldest due delivery has waited.",
    "orphaned_deliveries": "Pending deliveries whose receiver no relay knows.",
    "parked_deliveries": "Pending deliveries that cannot be published.",
    "blocked_keys": "Keys of ordered receivers whose next delivery is dead.",
    "paused": "1 while an operator has paused the receiver.",
    "breaker_open": "1 while the breaker of the receiver is not closed.",
    "workers": "Workers and relays that have reported lately.",
    "relays": "Relays that have reported lately.",
    "broker_failures": "Workers whose broker has failed in the last five minutes.",
    "complete": "0 when there are more deliveries than were counted.",
}
