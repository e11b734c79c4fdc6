"""The count at the end: events that were committed against effects that are there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import journal
from chaos.models import Effect, Ticket
from signal_tasks.models import Attempt, Delivery, Event

#: Effects that receivers of the load leave inside of their transaction.
ATOMIC = ("inside", "at times")
RECEIVERS = 3


@dataclass(kw_only=True)
class Findings:
    """What the count came to; only ``repeated`` and ``spent`` may be above zero."""

    events: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0
    unexplained: int = 0
    unsent: int = 0
    spent: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        wrong = self.lost + self.doubled + self.unexplained + self.unsent
        return not wrong and not self.remarks


def take_stock(prefix: str, folder: Path) -> Findings:
    """Compare the events of the tickets with that prefix with their effects."""
    rows = Ticket.objects.filter(key__startswith=f"{prefix}-")
    tickets = set(rows.values_list("key", flat=True))
    lines = list(journal.read(folder))
    effects = _effects_inside(prefix)
    outside = _effects_outside(prefix, lines)
    findings = Findings(events=len(tickets))
    _look_for_losses(findings, tickets, effects, outside)
    _look_for_bad_ends(findings, prefix)
    _look_for_repetitions(findings, outside, lines)
    findings.doubled = sum(n - 1 for n in effects.values() if n > 1)
    keys = {key for _, key in effects} | {line.key for line in outside}
    findings.unsent = len(keys - tickets)
    findings.spent = _attempts_spent(prefix)
    return findings


def lost_attempts() -> int:
    """Attempts that were counted because their worker died."""
    return Attempt.objects.filter(error_type="WorkerLost").count()


def repetitions(folder: Path) -> int:
    """How often the non-atomic receiver of the load ran again, in all."""
    runs = Counter(run.delivery for run in _effects_outside("", journal.read(folder)))
    return sum(number - 1 for number in runs.values())


def stray_events() -> int:
    """Events of the load without a ticket: their transactions were rolled back."""
    tickets = Ticket.objects.values("event_id")
    events = Event.objects.filter(signal="chaos.signals.happened")
    return events.exclude(pk__in=tickets).count()


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a non-atomic receiver that left its effect."""

    key: str
    delivery: str
    lease: int


def _effects_inside(prefix: str) -> Counter[tuple[str, str]]:
    rows = Effect.objects.filter(key__startswith=f"{prefix}-", what__in=ATOMIC)
    return Counter(rows.values_list("what", "key"))


def _effects_outside(prefix: str, lines: Iterable[journal.Line]) -> list[Run]:
    return [
        Run(line.facts["key"], line.facts["delivery"], line.facts["lease"])
        for line in lines
        if line.what == "effect"
        and line.facts["of"] == "outside"
        and line.facts["key"].startswith(prefix and f"{prefix}-")
    ]


def _look_for_losses(
    findings: Findings,
    tickets: set[str],
    effects: Counter[tuple[str, str]],
    outside: Sequence[Run],
) -> None:
    ran = {run.key for run in outside}
    missing = [
        f"{what} {key}" for what in ATOMIC for key in sorted(tickets) if not effects[what, key]
    ]
    missing += [f"outside {key}" for key in sorted(tickets - ran)]
    findings.lost = len(missing)
    findings.remarks += [f"no effect: {what}" for what in missing[:5]]


def _look_for_bad_ends(findings: Findings, prefix: str) -> None:
    owed = _deliveries(prefix).values_list("receiver", "state", "reason", "pk")
    if len(owed) != RECEIVERS * findings.events:
        findings.remarks.append(f"{len(owed)} deliveries of {findings.events} events")
    bad = [row for row in owed if row[1] != "succeeded"]
    findings.remarks += [" ".join(map(str, row)) for row in bad[:5]]


def _look_for_repetitions(
    findings: Findings, outside: Sequence[Run], lines: Iterable[journal.Line]
) -> None:
    """A repetition is explained if the lease of the run before was given up."""
    released = {
        (line.facts["delivery"], line.facts["lease"]): line.facts["why"]
        for line in lines
        if line.what == "released"
    }
    leases: dict[str, list[int]] = defaultdict(list)
    for run in outside:
        leases[run.delivery].append(run.lease)
    for delivery, taken in leases.items():
        *earlier, _last = sorted(taken)
        findings.repeated += len(earlier)
        again = len(taken) - len(set(taken))  # twice under one lease: never
        dark = [lease for lease in set(earlier) if (delivery, lease) not in released]
        findings.unexplained += again + len(dark)
        if again or dark:
            findings.remarks.append(f"{delivery} ran under leases {sorted(taken)}")


def _attempts_spent(prefix: str) -> int:
    """Attempts that were lost with their worker, and counted."""
    lost = Attempt.objects.filter(error_type="WorkerLost")
    return lost.filter(delivery__in=_deliveries(prefix)).count()


def _deliveries(prefix: str) -> Any:
    tickets = Ticket.objects.filter(key__startswith=f"{prefix}-")
    return Delivery.objects.filter(event_id__in=tickets.values("event_id"))
