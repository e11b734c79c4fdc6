"""Pause and resume."""

from __future__ import annotations

from typing import Any

from signal_tasks.audit import Act
from signal_tasks.models import Control
from signal_tasks.operations.steering import Until, drop, expiry, put, shown
from signal_tasks.steering.targets import resolve


def pause(
    target: object, *, until: Until = None, reason: str = "", by: Any = None
) -> str:
    """Start nothing of the target any more, until it is resumed; what runs, finishes.

    What is paused stays pending: it is not published, spends no attempt, and is held by
    workers that get a message of it. All workers and relays know within two seconds.
    Pausing what is paused replaces ``until``, ``reason`` and ``by``.

    Args:
        target: ``"*"``; a receiver's function, or a signal; the name of a receiver,
            signal or queue; or a name with what it is in front: ``"queue:email"``.
        until: when it is resumed by itself: a moment, or a time from now.
        reason: for those who will ask.
        by: the user who does it, or a name.

    Returns:
        The target as it is stored.

    Raises:
        ValueError: there is no such target, with the names of similar ones; or
            ``until`` is over, has no time zone, or is a hundred years away.
        TypeError: ``until`` or ``by`` is something else.
    """
    stored, ends = resolve(target), expiry(until)
    act = Act.on("pause", stored, by=by, reason=reason, until=shown(until))
    put(Control.Kind.PAUSE, act, until=ends)
    return stored


def resume(target: object, *, reason: str = "", by: Any = None) -> str:
    """Let what is paused start again: held deliveries are published within seconds.

    Of a target that has expired by itself, this deletes the record.

    Args:
        target: as it was paused; what belongs to another paused target stays paused.
        reason: for those who will ask.
        by: the user who does it, or a name.

    Returns:
        The target as it is stored.

    Raises:
        NotInForce: it is not paused; with what is.
        ValueError: there is no such target, with the names of similar ones.
        TypeError: ``by`` is something else.
    """
    stored = resolve(target)
    act = Act.on("resume", stored, by=by, reason=reason)
    drop(Control.Kind.PAUSE, act, what="paused")
    return stored
