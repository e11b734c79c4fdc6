"""Gathers the observations: rows of the database, lines of the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from chaos import journal
from chaos.checker import ATOMIC, FinalState, Observations, Run
from chaos.models import Effect, Ticket
from signal_tasks.models import Attempt, Delivery, Event


def gather(prefix: str, folder: Path) -> Observations:
    """The observations on the events whose keys begin with that prefix."""
    lines = list(journal.read(folder))
    tickets = Ticket.objects.filter(key__startswith=f"{prefix}-")
    return Observations(
        tickets=set(tickets.values_list("key", flat=True)),
        inside=_effects_inside(prefix),
        outside=_effects_outside(prefix, lines),
        released={
            (line.facts["delivery"], line.facts["lease"])
            for line in lines
            if line.what == "released"
        },
        ends=_ends(prefix),
        crashes=[line.at for line in lines if line.what == "database killed"],
    )


def lost_attempts() -> int:
    """Attempts that were counted because their worker died."""
    return Attempt.objects.filter(error_type="WorkerLost").count()


def repetitions(folder: Path) -> int:
    """How often the non-atomic receiver of the workload ran again, in all."""
    runs = Counter(run.delivery for run in _effects_outside("", journal.read(folder)))
    return sum(number - 1 for number in runs.values())


def stray_events() -> int:
    """Events of the workload without a ticket: their transactions were rolled back."""
    tickets = Ticket.objects.values("event_id")
    events = Event.objects.filter(signal="chaos.signals.happened")
    return events.exclude(pk__in=tickets).count()


def _effects_inside(prefix: str) -> Counter[tuple[str, str]]:
    rows = Effect.objects.filter(key__startswith=f"{prefix}-", what__in=ATOMIC)
    return Counter(rows.values_list("what", "key"))


def _effects_outside(prefix: str, lines: Iterable[journal.Line]) -> list[Run]:
    start = prefix and f"{prefix}-"
    return [
        Run(line.facts["key"], line.facts["delivery"], line.facts["lease"], line.at)
        for line in lines
        if line.what == "effect"
        and line.facts["of"] == "outside"
        and line.facts["key"].startswith(start)
    ]


def _ends(prefix: str) -> list[FinalState]:
    tickets = Ticket.objects.filter(key__startswith=f"{prefix}-")
    owed = Delivery.objects.filter(event_id__in=tickets.values("event_id"))
    fields = owed.values_list("pk", "receiver", "state", "reason")
    return [FinalState(str(pk), *rest) for pk, *rest in fields]
