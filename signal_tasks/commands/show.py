"""Verbs that only show: signals, health, one event."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from signal_tasks import operations
from signal_tasks.commands.arguments import as_json
from signal_tasks.commands.inspecting import lines_of
from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Given, verb
from signal_tasks.error_text import one_line
from signal_tasks.health_report import HealthReport
from signal_tasks.healthcheck import health
from signal_tasks.operations.inspection import plain
from signal_tasks.registry.options import Options
from signal_tasks.retry import RetryPolicy
from signal_tasks.states import State


@verb("list", "signals with their receivers and options", as_json)
def list_signals(out: Output, given: Given) -> None:
    """Print the signals."""
    described = operations.describe_signals()
    if given["json"]:
        out.json(described)
        return
    for name, receivers in described.items():
        out.say(out.style.MIGRATE_HEADING(name))
        for receiver in receivers:
            chosen = [_shown(k, v) for k, v in receiver.items() if _is_chosen(k, v)]
            out.say("  ".join((f"  {receiver['name']}", *chosen)))
        if not receivers:
            out.say("  (no durable receivers)")


def _is_chosen(option: str, value: Any) -> bool:
    """Return True if the value says more than the default would."""
    default = getattr(Options(), option, [])
    return option != "name" and value != default


def _shown(option: str, value: Any) -> str:
    """Return an option as it is written; of a policy what differs from the default."""
    if not isinstance(value, dict):
        return f"{option}={value}"
    default = plain(RetryPolicy()) if option == "retry" else {}
    chosen = [
        f"{k}={v}" for k, v in value.items() if k not in default or default[k] != v
    ]
    return f"{option}({', '.join(chosen)})"


@verb(
    "status",
    "pending deliveries and live workers; exit status 1 if unhealthy",
    as_json,
)
def status(out: Output, given: Given) -> None:
    """Print the health report."""
    seen = health()
    if given["json"]:
        out.json(seen)
    else:
        _print_status(out, seen)
    for problem in seen["problems"]:
        out.warn(problem)
    if not seen["healthy"]:
        raise SystemExit(1)


def _print_status(out: Output, seen: HealthReport) -> None:
    columns = ("pending", "retrying", *State.values[1:], "orphaned", "parked")
    width = max(map(len, (*seen["receivers"], "all receivers")))
    out.say(" " * width + "".join(f"{c:>11}" for c in columns))
    rows: list[tuple[str, Mapping[str, Any]]] = [*seen["receivers"].items()]
    for name, counts in (*rows, ("all receivers", seen)):
        numbers = "".join(f"{counts[c]:>11}" for c in columns)
        out.say(f"{name:<{width}}{numbers}")
    if not seen["complete"]:
        out.say(
            "(there are more: of what has finished, the latest 100,000 are counted)"
        )
    age = seen["oldest_pending_age_s"]
    out.say(f"oldest due delivery waits: {_wait(age, seen['pending'])}")
    out.say(f"workers: {', '.join(seen['workers']) or 'none'}")
    out.say(f"published late by relays in five minutes: {seen['rescued']}")
    for error in seen["broker_errors"]:
        out.say(f"  the broker failed: {error}")


def _wait(seconds: float | None, pending: int) -> str:
    """Return the longest wait, or why there is none."""
    if seconds is not None:
        return f"{seconds:.1f} s"
    if not pending:
        return "nothing is due"
    return (
        "nothing may start now; what is pending waits for its time or turn, or is "
        "paused or held: see manage.py signal_tasks blocked, pause and limit"
    )


def _event_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", type=uuid.UUID, help="of an event or a delivery")


@verb(
    "inspect",
    "print an event with its deliveries and failures (JSON if not to a terminal)",
    _event_id,
    as_json,
)
def inspect(out: Output, given: Given) -> None:
    """Print an event: as text to a person at a terminal, as JSON to a program."""
    found = operations.describe(given["id"])
    if found is None:
        raise CommandError(f"There is no event or delivery {given['id']}.")
    if given["json"] or not out.is_terminal:
        out.json(found)
        return
    for line in lines_of(found):
        out.say(one_line(line))


VERBS = (list_signals, status, inspect)
