"""Schedule the faults: each alone, then all at random; check the promises after each.

The seed decides the order, the times and the victims.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from django.db import DatabaseError, connection

from chaos import checker, observations
from chaos.environment import Environment, FaultNotInjected, PromiseBroken
from chaos.faults import Fault
from chaos.processes import ProcessError
from chaos.results import FaultResult, run_until_injected

#: Events that are sent around one fault, and the seconds in which they are sent.
EVENTS, SECONDS = 40, 1.5
#: The same in the short form.
SHORT_EVENTS, SHORT_SECONDS = 24, 1.0
#: Faults at random: longest pause after each (seconds), and events per second.
MIXED_PAUSE, MIXED_RATE = 1.25, 18


def run_each(env: Environment, faults: Iterable[Fault]) -> Iterator[FaultResult]:
    """Inject each of the faults alone."""
    for fault in faults:
        run = functools.partial(_run_alone, env, fault)
        again = functools.partial(run, f"again-{fault.name}")
        yield run_until_injected(functools.partial(run, fault.name), again)


def _run_alone(env: Environment, fault: Fault, keys: str) -> FaultResult:
    """Inject a fault while events are sent whose keys begin with this text."""
    env.rng = random.Random(f"{env.seed} {keys}")  # noqa: S311
    events, seconds = EVENTS, SECONDS
    if env.short:
        events, seconds = SHORT_EVENTS, SHORT_SECONDS
    inject = functools.partial(_inject_one, env, fault)
    result = _run(env, keys, fault.title, events, seconds, inject)
    result.fault = fault.name
    env.wait_until_ready()
    return result


def run_mixed(env: Environment, faults: Sequence[Fault], events: int) -> FaultResult:
    """Inject faults at random while all remaining events are sent."""
    env.rng = random.Random(f"{env.seed} mixed")  # noqa: S311
    seconds = events / MIXED_RATE
    injected: list[str] = []
    result = _run(
        env,
        "mixed",
        "all of these, mixed at random",
        events,
        seconds,
        lambda: _inject_at_random(env, faults, seconds, injected),
    )
    result.injected = injected
    return result


def _inject_one(env: Environment, fault: Fault) -> list[str]:
    """Inject the fault; return violations that the checker does not look for."""
    lost = observations.lost_attempts()
    repeated = observations.repetitions(env.folder)
    env.was_busy = False
    fault.inject(env)
    if fault.while_busy and not env.was_busy:
        raise FaultNotInjected("it did not wait until something was under way")
    env.wait_for_deliveries()
    violations = []
    if not fault.may_spend_attempt and observations.lost_attempts() > lost:
        violations.append("an attempt was spent")
    if not fault.may_repeat and observations.repetitions(env.folder) > repeated:
        violations.append("a receiver ran again without a cause")
    return violations


def _inject_at_random(
    env: Environment, faults: Sequence[Fault], seconds: float, injected: list[str]
) -> list[str]:
    """Inject random faults for as long as the workload lasts."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        fault = env.rng.choice(faults)
        connection.close()  # the previous fault may have broken it
        try:
            fault.inject(env)
        except (FaultNotInjected, DatabaseError) as error:
            injected.append(f"{fault.name} (not injected: {error})")
        else:
            injected.append(fault.name)
        env.wait(env.rng.uniform(0, MIXED_PAUSE))
    return []


def _run(
    env: Environment,
    name: str,
    title: str,
    events: int,
    seconds: float,
    inject: Callable[[], list[str]],
) -> FaultResult:
    started = time.monotonic()
    violations: list[str] = []
    missing = ""
    with env.with_workload(name, events, seconds) as workload:
        try:
            violations = inject()
        except (PromiseBroken, ProcessError) as error:
            violations = [str(error)]
        except FaultNotInjected as error:
            missing = f"the fault was not injected: {error}"
        env.restore()
    env.wait_for_deliveries()
    check = checker.check(observations.collect(name, env.folder))
    came_too_late = bool(missing) and check.valid
    check.violations += violations or ([missing] if missing else [])
    notes, env.notes = env.notes, []
    return FaultResult(
        fault=name,
        title=title,
        check=check,
        seconds=time.monotonic() - started,
        slowest=workload.slowest,
        refused=workload.failed,
        came_too_late=came_too_late,
        notes=notes,
    )
