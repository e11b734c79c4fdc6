"""Runs that last for long enough to be interrupted in the middle.

A process that is killed while it has nothing to do proves nothing. A fault that kills
processes finds its victim here, and learns whether a run was really interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaos import journal
from chaos.environment import Environment, FaultNotInjected
from chaos.signals import instructed
from signal_tasks.models import Delivery

#: A run may have ended before it is interrupted: try again.
TRIES = 3


@dataclass(frozen=True, slots=True)
class Run:
    """A run that sleeps, behind its effect."""

    key: str
    pid: int
    delivery: str
    lease: int

    @property
    def succeeded(self) -> bool:
        """Return whether this run, and no later one, has finished its delivery."""
        rows = Delivery.objects.filter(pk=self.delivery, lease=self.lease)
        return bool(rows.filter(state="succeeded").exists())


def begin_run(env: Environment, fault: str = "sleep") -> Run:
    """Send an event whose receivers sleep; return the run of the one not atomic."""
    key = f"run-{env.rng.getrandbits(64)}"
    instructed.send(None, key=key, fault=fault)
    return env.wait_until(lambda: _find(env, key), "run to interrupt", 20)[0]


def interrupt(env: Environment, end: Callable[[Run], None]) -> Run:
    """Have the function end the process of a run, in the middle of the run."""
    for _ in range(TRIES):
        run = begin_run(env, "sleep longer")
        end(run)
        if not run.succeeded:
            return run
    raise FaultNotInjected("each run had ended before its process")


def _find(env: Environment, key: str) -> list[Run]:
    return [
        Run(key, record.pid, record.facts["delivery"], record.facts["lease"])
        for record in journal.read(env.folder)
        if record.kind == "effect" and record.facts["key"] == key
    ]
