"""Collect the observations: rows of the database, records of the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from chaos import journal
from chaos.checker import ATOMIC, FinalState, Observations, Place, Run, Step
from chaos.models import Effect, Ticket
from chaos.signals import workload_event
from signal_tasks.models import Attempt, Delivery, Event


def collect(prefix: str, folder: Path) -> Observations:
    """Return the observations of the events whose keys begin with this prefix."""
    records = list(journal.read(folder))
    tickets = Ticket.objects.filter(key__startswith=f"{prefix}-")
    return Observations(
        tickets=set(tickets.values_list("key", flat=True)),
        atomic_effects=_atomic_effects(prefix),
        external_runs=_external_runs(prefix, records),
        released={
            (record.facts["delivery"], record.facts["lease"])
            for record in records
            if record.kind == "released"
        },
        final_states=_final_states(prefix),
        places={
            key: Place(*place)
            for key, *place in tickets.values_list("key", "line", "place")
        },
        ordered_effects=_ordered_effects(prefix),
        steps=list(_steps(prefix, records)),
        crashes=[record.at for record in records if record.kind == "database killed"],
    )


def lost_attempts() -> int:
    """Return the number of attempts that were counted because their worker died."""
    return Attempt.objects.filter(error_type="WorkerLost").count()


def repetitions(folder: Path) -> int:
    """Return how often the workload's non-atomic receiver has run again, in all."""
    runs = Counter(run.delivery for run in _external_runs("", journal.read(folder)))
    return sum(number - 1 for number in runs.values())


def events_without_ticket() -> int:
    """Count events of the workload whose transactions were rolled back."""
    tickets = Ticket.objects.values("event_id")
    events = Event.objects.filter(signal=workload_event.name)
    return events.exclude(pk__in=tickets).count()


def _atomic_effects(prefix: str) -> Counter[tuple[str, str]]:
    rows = Effect.objects.filter(key__startswith=f"{prefix}-", kind__in=ATOMIC)
    return Counter(rows.values_list("kind", "key"))


def _ordered_effects(prefix: str) -> list[str]:
    """Return the keys of effects of a line in the order in which they were left."""
    rows = Effect.objects.filter(key__startswith=f"{prefix}-", kind="ordered")
    return list(rows.order_by("pk").values_list("key", flat=True))


def _steps(prefix: str, records: Iterable[journal.Record]) -> Iterator[Step]:
    for record in records:
        facts = record.facts
        if record.kind == "step" and facts["key"].startswith(f"{prefix}-"):
            begins = facts["phase"] == "begun"
            yield Step(
                facts["key"], begins, facts["delivery"], facts["lease"], record.at
            )


def _external_runs(prefix: str, records: Iterable[journal.Record]) -> list[Run]:
    start = prefix and f"{prefix}-"
    return [
        Run(
            record.facts["key"],
            record.facts["delivery"],
            record.facts["lease"],
            record.at,
        )
        for record in records
        if record.kind == "effect"
        and record.facts["effect"] == "external"
        and record.facts["key"].startswith(start)
    ]


def _final_states(prefix: str) -> list[FinalState]:
    tickets = Ticket.objects.filter(key__startswith=f"{prefix}-")
    deliveries = Delivery.objects.filter(event_id__in=tickets.values("event_id"))
    fields = deliveries.values_list("pk", "receiver", "state", "reason")
    return [FinalState(str(pk), *rest) for pk, *rest in fields]
