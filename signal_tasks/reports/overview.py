"""The state of one outbox at a glance: health, and its receivers, worst first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from signal_tasks import counting
from signal_tasks.conf import settings
from signal_tasks.db.clock import from_now
from signal_tasks.healthcheck.notices import notices
from signal_tasks.healthcheck.problem import Kind, Problem
from signal_tasks.healthcheck.problems import problems
from signal_tasks.healthcheck.shortening import shortened
from signal_tasks.models import Gate, Worker
from signal_tasks.models.history import ALL
from signal_tasks.registry.registry import registry
from signal_tasks.reports import bounds, history
from signal_tasks.states import Breaker

NONE = bounds.Count(0)
NO_FIGURES = history.Figures()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverLine:
    """One receiver in the overview; counts are of what is live, and of dead letters.

    ``kept`` are due as well, and may not start; ``why_kept`` says so in words, and
    ``is_blocked`` that some wait behind a dead letter.
    """

    name: str
    due: int = 0  # and may start
    kept: int = 0
    why_kept: str = ""
    is_blocked: bool = False
    waiting: int = 0  # for their time
    running: int = 0
    retrying: int = 0
    orphaned: int = 0
    dead: bounds.Count = NONE
    oldest_due_at: datetime | None = None
    breaker: str = Breaker.CLOSED
    holding: bool = False
    figures: history.Figures = NO_FIGURES

    @property
    def severity(self) -> tuple[int, int, int]:
        """The sort key of the receivers, the worst first."""
        broken = self.breaker != Breaker.CLOSED
        return (-int(broken), -self.dead.number, -self.due - self.kept)

    @property
    def is_idle(self) -> bool:
        """True if nothing is live or dead."""
        live = self.due or self.kept or self.waiting or self.running
        return not (live or self.dead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The contents of the first page; ``is_capped``: not all that is live was counted.

    ``problems`` are shortened, ``wrong`` is the number of all of them.
    """

    wrong: int
    problems: Sequence[Problem]
    notices: Sequence[str]
    receivers: Sequence[ReceiverLine]
    workers: int
    now: datetime
    is_capped: bool
    figures: history.Figures
    chart: history.Chart

    @property
    def totals(self) -> ReceiverLine:
        """The sums over all receivers."""
        lines = self.receivers
        waits = [line.oldest_due_at for line in lines if line.oldest_due_at]
        return ReceiverLine(
            name="",
            due=sum(line.due for line in lines),
            kept=sum(line.kept for line in lines),
            why_kept=next((line.why_kept for line in lines if line.kept), ""),
            is_blocked=any(line.is_blocked for line in lines),
            running=sum(line.running for line in lines),
            retrying=sum(line.retrying for line in lines),
            dead=bounds.Count(
                sum(line.dead.number for line in lines),
                any(line.dead.is_more for line in lines),
            ),
            oldest_due_at=min(waits, default=None),
        )


def overview(database: str, span: history.Span = history.SPANS["1h"]) -> Overview:
    """Return the state of one outbox; a constant number of statements."""
    recently = from_now(-settings().WORKER_TTL)
    workers = list(Worker.objects.using(database).filter(seen_at__gte=recently))
    loads = counting.loads(database)
    found = list(problems(database, workers, loads))
    figures = history.figures(database, span)
    blocked = {each.subject for each in found if each.kind == Kind.BLOCKED}
    lines = _lines(database, loads, figures, blocked)
    return Overview(
        wrong=len(found),
        problems=list(shortened(found)),
        notices=list(notices(database)),
        receivers=sorted(lines, key=lambda line: (line.severity, line.name)),
        workers=len(workers),
        now=timezone.now(),
        is_capped=loads.is_capped,
        figures=figures.get(ALL, NO_FIGURES),
        chart=history.chart(database, span),
    )


def _lines(
    database: str,
    loads: counting.Loads,
    figures: Mapping[str, history.Figures],
    blocked: Collection[str],
) -> list[ReceiverLine]:
    facts: dict[str, dict[str, Any]] = {
        name: {
            "due": load.startable,
            "kept": load.kept,
            "why_kept": loads.why_kept,
            "is_blocked": name in blocked,
            "waiting": load.waiting,
            "retrying": load.retrying,
            "running": load.running,
            "orphaned": load.orphaned,
            "oldest_due_at": load.oldest_due_at,
        }
        for name, load in loads.receivers.items()
    }
    for gate in Gate.of_receivers(database):
        line = facts.setdefault(gate.receiver, {})
        line |= {"breaker": gate.breaker, "holding": gate.holding}
    for name, number in _dead(database).items():
        facts.setdefault(name, {})["dead"] = number
    for receiver in registry.receivers():
        facts.setdefault(receiver.name, {})
    return [
        ReceiverLine(name=name, figures=figures.get(name, NO_FIGURES), **line)
        for name, line in facts.items()
    ]


def _dead(database: str) -> dict[str, bounds.Count]:
    """Return the dead letters of each receiver, of the latest ones."""
    dead = counting.dead(database)
    return {
        name: bounds.Count(number, dead.is_capped)
        for name, number in dead.numbers.items()
    }
