"""The words of what health tells: times, names and numbers in a sentence."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

#: Names of receivers that one sentence lists.
MAX_NAMES = 5
#: Characters that a sentence quotes of an error or a reason, and of a key.
MAX_CLAUSE, MAX_KEY = 200, 60
#: The command that the sentences name.
COMMAND = "manage.py signal_tasks"


def listed(names: Collection[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = sorted(names)[:MAX_NAMES]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def deliveries(number: int) -> str:
    """Return the noun for so many."""
    return "delivery" if number == 1 else "deliveries"


def time_text(when: datetime | None) -> str:
    """Return a moment to the second."""
    return when.isoformat(sep=" ", timespec="seconds") if when else "an unknown time"


def length_text(seconds: float) -> str:
    """Return a time in the longest unit of which it has at least two."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def clause(text: str) -> str:
    """Return what somebody wrote so that a sentence can go on behind it, if short."""
    return shortly(text.strip().rstrip("."), MAX_CLAUSE)


def shortly(text: str, most: int = MAX_KEY) -> str:
    """Return the beginning of a text that is long."""
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"
