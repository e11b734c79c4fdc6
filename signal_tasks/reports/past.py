"""Past events: whether a backfill is possible, and how many events it is about."""

from __future__ import annotations

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.registry.registry import registry
from signal_tasks.relay import backfilling
from signal_tasks.selection import Selection


def check(selection: Selection) -> None:
    """Check that the events of a selection can be delivered to its receiver.

    Raises:
        ValueError: they cannot; says why, and what could be.
    """
    receiver = registry.receiver(selection.receiver or "")
    if receiver is None:
        raise ValueError(f"This web process knows no receiver {selection.receiver!r}.")
    if selection.since is None:
        raise ValueError("Say since when: give an age such as 2h, or a time.")
    backfilling.check(receiver, selection)


def count(selection: Selection, limit: int) -> int:
    """Return the number of events, in all outboxes, that its receiver has not got.

    Whatever their senders and arguments; at most ``limit``, or one more.
    """
    total = 0
    for database in outbox_aliases():
        rows = backfilling.events(selection, database).order_by()
        total += rows[: limit + 1 - total].count()
        if total > limit:
            break
    return total
