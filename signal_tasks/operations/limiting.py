"""Limit, and clear a limit."""

from __future__ import annotations

from typing import Any

from signal_tasks.audit import Act
from signal_tasks.models import Control
from signal_tasks.operations.steering import Until, drop, expiry, put, shown
from signal_tasks.registry.options import per_second
from signal_tasks.steering.targets import resolve
from signal_tasks.validation import COUNT, Rule

#: Longest text of a rate, in characters.
MAX_RATE = 32
#: The largest number of deliveries at a time that a row can hold.
MAX_PLACES = 2**31 - 1


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
    limits = {"rate": text, "max_concurrency": max_concurrency}
    act = Act.on("limit", stored, by=by, reason=reason, until=shown(until), **limits)
    put(Control.Kind.LIMIT, act, until=ends, **limits)
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
    act = Act.on("clear", stored, by=by, reason=reason)
    drop(Control.Kind.LIMIT, act, what="limited")
    return stored


def _refuse_senseless(rate: str | float | None, max_concurrency: object) -> None:
    if rate is None and max_concurrency is None:
        raise ValueError("give a rate or a max_concurrency; clear ends a limit")
    if rate is not None:
        per_second(rate)
    if len(str(rate)) > MAX_RATE:
        raise ValueError(f"rate is {rate!r}; give at most {MAX_RATE} characters")
    if max_concurrency is not None and not _PLACES.accepts(max_concurrency):
        wanted = _PLACES.wanted
        raise ValueError(f"max_concurrency is {max_concurrency!r}; give {wanted}")


_PLACES = Rule(
    lambda value: COUNT.accepts(value) and value <= MAX_PLACES,
    f"{COUNT.wanted} up to {MAX_PLACES}",
)
