"""Makes the faults, each alone and then at random, and has the effects counted."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from django.db import DatabaseError, connection

from chaos import checker, observations
from chaos.checker import CheckResult
from chaos.environment import Environment, FaultNotInjected, PromiseBroken
from chaos.faults import Fault
from chaos.processes import ProcessError

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
    result: CheckResult
    seconds: float
    slowest: float = 0.0
    refused: int = 0
    made: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return self.result.clean


def play(env: Environment, faults: Iterable[Fault]) -> Iterator[Row]:
    """Make each of the faults alone."""
    for fault in faults:
        env.rng = random.Random(f"{env.seed} {fault.name}")  # noqa: S311
        yield _played_alone(env, fault)
        env.wait_until_ready()


def _played_alone(env: Environment, fault: Fault) -> Row:
    events, seconds = EVENTS, SECONDS
    if env.short:
        events, seconds = SHORT_EVENTS, SHORT_SECONDS
    inject = functools.partial(_once, env, fault)
    return _played(env, fault.name, fault.title, events, seconds, inject)


def play_mixed(env: Environment, faults: Sequence[Fault], events: int) -> Row:
    """Make faults at random, while all the remaining events are sent."""
    env.rng = random.Random(f"{env.seed} mixed")  # noqa: S311
    seconds = events / MIXED_RATE
    made: list[str] = []
    row = _played(
        env,
        "mixed",
        "all of these, mixed at random",
        events,
        seconds,
        lambda: _mix(env, faults, seconds, made),
    )
    row.made = made
    return row


def _once(env: Environment, fault: Fault) -> list[str]:
    """Make the fault; what it says against the engine."""
    lost = observations.lost_attempts()
    repeated = observations.repetitions(env.folder)
    fault.inject(env)
    env.wait_for_deliveries()
    remarks = []
    if not fault.may_spend_attempt and observations.lost_attempts() > lost:
        remarks.append("an attempt was spent")
    if not fault.may_repeat and observations.repetitions(env.folder) > repeated:
        remarks.append("a receiver ran again without a cause")
    return remarks


def _mix(
    env: Environment, faults: Sequence[Fault], seconds: float, made: list[str]
) -> list[str]:
    """Make random faults for as long as the workload lasts."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        fault = env.rng.choice(faults)
        connection.close()  # the fault before may have broken it
        try:
            fault.inject(env)
        except (FaultNotInjected, DatabaseError) as error:
            made.append(f"{fault.name} (not made: {error})")
        else:
            made.append(fault.name)
        env.wait(env.rng.uniform(0, MIXED_EVERY / 2))
    return []


def _played(
    env: Environment,
    name: str,
    title: str,
    events: int,
    seconds: float,
    inject: Callable[[], list[str]],
) -> Row:
    started = time.monotonic()
    remarks: list[str] = []
    with env.with_workload(name, events, seconds) as workload:
        try:
            remarks = inject()
        except (PromiseBroken, ProcessError) as error:
            remarks = [str(error)]
        except FaultNotInjected as error:
            remarks = [f"the fault was not made: {error}"]
        env.restore()
    env.wait_for_deliveries()
    result = checker.check(observations.gather(name, env.folder))
    result.remarks += remarks
    notes, env.notes = env.notes, []
    return Row(
        fault=name,
        title=title,
        result=result,
        seconds=time.monotonic() - started,
        slowest=workload.slowest,
        refused=workload.failed,
        notes=notes,
    )
