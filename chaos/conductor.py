"""Makes the faults, each alone and then at random, and has the effects counted."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from django.db import DatabaseError, connection

from chaos import audit, evidence
from chaos.audit import Findings
from chaos.crew import CrewError
from chaos.faults import Fault
from chaos.stage import Broken, NotMade, Stage

#: Events that are sent around one fault, and how long that takes (seconds).
EVENTS, SECONDS = 40, 1.5
#: The same in the short form.
SHORT_EVENTS, SHORT_SECONDS = 24, 1.0
#: The mix: its share of time for each fault (seconds), and its rate of events.
MIXED_EVERY, MIXED_RATE = 2.5, 18


@dataclass(kw_only=True)
class Row:
    """What one fault came to: a line of the table."""

    fault: str
    title: str
    findings: Findings
    seconds: float
    slowest: float = 0.0
    refused: int = 0
    made: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return self.findings.clean


def play(stage: Stage, faults: Iterable[Fault]) -> Iterator[Row]:
    """Make each of the faults alone."""
    for fault in faults:
        stage.rng = random.Random(f"{stage.seed} {fault.name}")  # noqa: S311
        yield _played_alone(stage, fault)
        stage.until_ready()


def _played_alone(stage: Stage, fault: Fault) -> Row:
    events, seconds = EVENTS, SECONDS
    if stage.short:
        events, seconds = SHORT_EVENTS, SHORT_SECONDS
    strike = functools.partial(_once, stage, fault)
    return _played(stage, fault.name, fault.title, events, seconds, strike)


def play_mixed(stage: Stage, faults: Sequence[Fault], events: int) -> Row:
    """Make faults at random, while all the remaining events are sent."""
    stage.rng = random.Random(f"{stage.seed} mixed")  # noqa: S311
    seconds = events / MIXED_RATE
    made: list[str] = []
    row = _played(
        stage,
        "mixed",
        "all of these, mixed at random",
        events,
        seconds,
        lambda: _mix(stage, faults, seconds, made),
    )
    row.made = made
    return row


def _once(stage: Stage, fault: Fault) -> list[str]:
    """Make the fault; what it says against the engine."""
    lost = evidence.lost_attempts()
    repeated = evidence.repetitions(stage.folder)
    fault.strike(stage)
    stage.settle()
    remarks = []
    if not fault.spends and evidence.lost_attempts() > lost:
        remarks.append("an attempt was spent")
    if not fault.repeats and evidence.repetitions(stage.folder) > repeated:
        remarks.append("a receiver ran again without a cause")
    return remarks


def _mix(
    stage: Stage, faults: Sequence[Fault], seconds: float, made: list[str]
) -> list[str]:
    """Make random faults for as long as the load lasts."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        fault = stage.rng.choice(faults)
        connection.close()  # the fault before may have broken it
        try:
            fault.strike(stage)
        except (NotMade, DatabaseError) as error:
            made.append(f"{fault.name} (not made: {error})")
        else:
            made.append(fault.name)
        stage.wait(stage.rng.uniform(0, MIXED_EVERY / 2))
    return []


def _played(
    stage: Stage,
    name: str,
    title: str,
    events: int,
    seconds: float,
    strike: Callable[[], list[str]],
) -> Row:
    started = time.monotonic()
    remarks: list[str] = []
    with stage.under_load(name, events, seconds) as load:
        try:
            remarks = strike()
        except (Broken, CrewError) as error:
            remarks = [str(error)]
        except NotMade as error:
            remarks = [f"the fault was not made: {error}"]
        stage.restore()
    stage.settle()
    findings = audit.judge(evidence.gather(name, stage.folder))
    findings.remarks += remarks
    notes, stage.notes = stage.notes, []
    return Row(
        fault=name,
        title=title,
        findings=findings,
        seconds=time.monotonic() - started,
        slowest=load.slowest,
        refused=load.failed,
        notes=notes,
    )
