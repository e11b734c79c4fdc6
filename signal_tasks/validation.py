"""Rules for values that users give: one style for options, policies and settings.

A rule says which values it accepts and, in words, what to give instead.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

#: The longest duration that is accepted: a hundred years, in seconds.
MAX_SECONDS = 100 * 366 * 24 * 3600.0


class Rule(NamedTuple):
    """A predicate, and what to give when it is false."""

    accepts: Callable[[Any], bool]
    wanted: str


def errors(
    rules: Mapping[str, Rule], values: Mapping[str, Any], label: str = "{}"
) -> Iterator[str]:
    """Yield a sentence for each value that its rule does not accept.

    ``label`` is how a name is written: ``RetryPolicy: {}``.
    """
    for name, value in values.items():
        rule = rules.get(name)
        if rule is not None and not rule.accepts(value):
            yield f"{label.format(name)} is {value!r}; give {rule.wanted}"


def is_number(value: object) -> bool:
    """Return True for a finite int or float; False for a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def is_duration(value: object) -> bool:
    """Return True for a positive number of seconds that a database can add."""
    return (
        isinstance(value, int | float)
        and is_number(value)
        and 0 < value <= (MAX_SECONDS)
    )


def is_name(value: object) -> bool:
    """Return True for a string that is not empty."""
    return isinstance(value, str) and bool(value)


def as_id(value: object, label: str) -> uuid.UUID:
    """Return an id that may be given as its text; ``label`` begins the error.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{label} is {value!r}; give a UUID, or its text") from None


def optional(rule: Rule, otherwise: str = "None") -> Rule:
    """Return the rule that accepts None as well."""
    wanted = f"{otherwise} or {rule.wanted}"
    return Rule(lambda value: value is None or rule.accepts(value), wanted)


def a(kind: type) -> Rule:
    """Return the rule that accepts instances of ``kind``."""
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    return Rule(lambda value: isinstance(value, kind), f"{article} {kind.__name__}")


BOOL = Rule(lambda value: isinstance(value, bool), "True or False")
NAME = Rule(is_name, "a name")
DURATION = Rule(is_duration, "a positive number of seconds")
POSITIVE = Rule(lambda value: is_number(value) and value > 0, "a positive number")
NOT_NEGATIVE = Rule(
    lambda value: is_number(value) and value >= 0, "a number that is not negative"
)
COUNT = Rule(lambda value: type(value) is int and value > 0, "a positive whole number")
