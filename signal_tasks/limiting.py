"""Limits and breakers, as an operator sets and sees them: beside ``controls``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from signal_tasks.audit import Act, command_line, name_of
from signal_tasks.controls import Until, drop, expiry, put, shown
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.models import Control, Gate
from signal_tasks.registry.options import per_second
from signal_tasks.registry.registry import registry
from signal_tasks.states import Breaker
from signal_tasks.steering.targets import resolve
from signal_tasks.validation import COUNT

#: Longest text of a rate, in characters.
MAX_RATE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """The breaker of a receiver, as it stands in one outbox.

    Attributes:
        receiver: name of the receiver.
        database: alias of the outbox.
        state: ``closed``, ``open`` or ``half_open``.
        failures: consecutive failures so far.
        failing_since: when the first of them was, within the window; or None.
        changed_at: when it last opened, closed, or let a delivery probe; or None.
        probe_at: when the next delivery may probe; while half open, when the probe
            counts as lost; None if it is closed.
    """

    receiver: str
    database: str
    state: Breaker
    failures: int
    failing_since: datetime | None
    changed_at: datetime | None
    probe_at: datetime | None


def limit(
    target: object,
    *,
    rate: str | float | None = None,
    max_concurrency: int | None = None,
    until: Until = None,
    reason: str = "",
    by: Any = None,
) -> str:
    """Limit a target, in place of what ``connect()`` says; what runs, finishes.

    Holds for all workers together, and for each receiver of the target by itself. Of
    several limits that a receiver has, the strictest holds. All workers and relays know
    within two seconds. Limiting what is limited replaces all of the former limit.

    Args:
        target: as for ``pause``. A signal stands for the receivers connected to it.
        rate: deliveries that may start: a number per second, or text as ``"100/m"``.
            None leaves it to the code.
        max_concurrency: deliveries that may run at a time, of those that start from
            now on. None leaves it to the code.
        until: when the limit expires: a moment, or a time from now.
        reason: for those who will ask.
        by: the user who does it, or a name.

    Returns:
        The target as it is stored.

    Raises:
        ValueError: there is no such target, with the names of similar ones; neither
            a rate nor a number is given, or one that makes no sense; or ``until`` is
            over, has no time zone, or is a hundred years away.
        TypeError: ``until`` or ``by`` is something else.
    """
    stored, ends = resolve(target), expiry(until)
    _refuse_senseless(rate, max_concurrency)
    text = "" if rate is None else str(rate)
    act = Act(
        verb="limit",
        target=stored,
        by=name_of(by),
        reason=reason,
        command=command_line(
            "limit",
            stored,
            rate=text,
            max_concurrency=max_concurrency,
            until=shown(until),
            reason=reason,
            by=name_of(by),
        ),
    )
    values = {"rate": text, "max_concurrency": max_concurrency, "until": ends}
    put(Control.Kind.LIMIT, act, **values)
    return stored


def clear(target: object, *, reason: str = "", by: Any = None) -> str:
    """Let what ``connect()`` says hold again for a target that is limited.

    Args:
        target: as it was limited; the limits of other targets stay in force.
        reason: for those who will ask.
        by: the user who does it, or a name.

    Returns:
        The target as it is stored.

    Raises:
        NotInForce: it is not limited; with what is.
        ValueError: there is no such target, with the names of similar ones.
        TypeError: ``by`` is something else.
    """
    stored = resolve(target)
    act = Act(
        verb="clear",
        target=stored,
        by=name_of(by),
        reason=reason,
        command=command_line("clear", stored, reason=reason, by=name_of(by)),
    )
    drop(Control.Kind.LIMIT, act, what="limited")
    return stored


def breakers() -> list[BreakerState]:
    """Return the breaker of each receiver that has one here, by name and outbox."""
    names = [each.name for each in registry.receivers() if each.options.breaker]
    states = []
    for database in outbox_aliases():
        gates = Gate.objects.using(database).in_bulk(names)
        states += [
            _state(gates.get(name, Gate(receiver=name)), database) for name in names
        ]
    return sorted(states, key=lambda each: (each.receiver, each.database))


def _state(gate: Gate, database: str) -> BreakerState:
    return BreakerState(
        receiver=gate.receiver,
        database=database,
        state=Breaker(gate.breaker),
        failures=gate.failures,
        failing_since=gate.failing_since,
        changed_at=gate.changed_at,
        probe_at=gate.probe_at,
    )


def _refuse_senseless(rate: str | float | None, max_concurrency: object) -> None:
    if rate is None and max_concurrency is None:
        raise ValueError("give a rate or a max_concurrency; clear() ends a limit")
    if rate is not None:
        per_second(rate)
    if len(str(rate)) > MAX_RATE:
        raise ValueError(f"rate is {rate!r}; give at most {MAX_RATE} characters")
    if max_concurrency is not None and not COUNT.accepts(max_concurrency):
        raise ValueError(f"max_concurrency is {max_concurrency!r}; give {COUNT.wanted}")
