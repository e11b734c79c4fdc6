"""Options of a durable receiver: how its deliveries are run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, get_args

from signal_tasks.retry import RetryPolicy
from signal_tasks.validation import (
    BOOL,
    COUNT,
    DURATION,
    NAME,
    Rule,
    a,
    errors,
    optional,
)

OnMissing = Literal["reject", "skip", "none"]
OnDead = Literal["block", "skip"]

#: Most deliveries that one call of a batch receiver gets: as many as a message brings.
MAX_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Leave a failing receiver alone, in the whole fleet.

    Attributes:
        failures: consecutive failed attempts that open it.
        window: seconds within which they have to happen.
        pause: seconds from its opening, or a failed probe, to the next probe.

    Raises:
        ValueError: a number is out of its range.
    """

    failures: int = 5
    window: float = 60.0
    pause: float = 30.0

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _BREAKER_RULES}
        for error in errors(_BREAKER_RULES, given, "Breaker: {}"):
            raise ValueError(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coalesce:
    """Merge many sends into one delivery with the newest arguments.

    Attributes:
        key: function of ``sender`` and keywords; sends with the same key are merged.
        within: seconds after the last send in which nothing runs.
        max_wait: seconds after the first send, after which it runs in any case.

    Raises:
        ValueError: a number is out of its range.
        TypeError: ``key`` is no function.
    """

    key: Callable[..., Any]
    within: float = 5.0
    max_wait: float = 60.0

    def __post_init__(self) -> None:
        if not callable(self.key):
            raise TypeError(f"Coalesce: key is {self.key!r}; give a function")
        given = {"within": self.within, "max_wait": self.max_wait}
        for error in errors(_COALESCE_RULES, given, "Coalesce: {}"):
            raise ValueError(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of one receiver; ``connect()`` explains each."""

    queue: str | None = None
    atomic: bool = True
    retry: RetryPolicy | None = None
    timeout: float | None = None
    rate_limit: str | int | float | None = None
    max_concurrency: int | None = None
    breaker: Breaker | None = None
    on_missing: OnMissing = "reject"
    group_commit: bool = True
    ordered: bool = False
    on_dead: OnDead = "block"
    coalesce: Coalesce | None = None
    batch: int | None = None

    def errors(self) -> Iterator[str]:
        """Yield a sentence for each option that makes no sense."""
        given = {name: getattr(self, name) for name in _RULES}
        yield from errors(_RULES, given)
        if not self.ordered and self.on_dead == "skip":
            yield (
                "on_dead='skip' lets those run that wait behind a dead letter, and nothing "
                "waits behind one without ordered=True; give both, or neither"
            )
        if self.ordered and self.coalesce is not None:
            yield (
                "ordered=True runs each send in its turn, and coalesce= drops all but "
                "the newest; use one of them"
            )
        if self.ordered and self.batch is not None:
            yield (
                "ordered=True runs the deliveries of a key one after the other, and "
                "batch= many at a time; use one of them"
            )
        if not self.group_commit and self.batch is not None:
            yield (
                "group_commit=False gives each delivery a transaction of its own, and "
                "batch= gives many of them one call; use one of them"
            )

    def non_default(self) -> dict[str, Any]:
        """Return the options that were set to something else than their default."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != each.default
        }


class DurableOptions(TypedDict, total=False):
    """The keywords of ``connect()`` for a durable receiver, for those who check types."""

    weak: bool
    dispatch_uid: Any
    name: str | None
    aliases: Iterable[str]
    queue: str | None
    atomic: bool
    retry: RetryPolicy | None
    timeout: float | None
    rate_limit: str | int | float | None
    on_missing: OnMissing
    when: Callable[..., bool] | None
    group_commit: bool
    max_concurrency: int | None
    breaker: Breaker | None
    ordered: bool
    on_dead: OnDead
    coalesce: Coalesce | None
    batch: int | None


class ConnectOptions(DurableOptions, total=False):
    """The keywords of ``connect()``."""

    inline: bool


class DjangoOptions(TypedDict, total=False):
    """The keywords of Django's own ``Signal.connect``."""

    weak: bool
    dispatch_uid: Any


def per_second(rate: str | int | float) -> float:
    """Return a rate as a number per second: 2, "2", "100/m", "5000/h".

    Raises:
        ValueError: it is none, or zero, or no float can hold it.
    """
    text = str(rate)
    number, _, unit = text.partition("/")
    if _RATE.fullmatch(text) is None or not math.isfinite(float(number)):
        raise ValueError(f'rate is {rate!r}; give a number per second, or "100/m"')
    found = float(number) / _SECONDS[unit or "s"]
    if not found:
        raise ValueError(f"rate is {rate!r}; nothing would ever be done")
    return found


def _is_rate(rate: Any) -> bool:
    try:
        return per_second(rate) > 0
    except ValueError:
        return False


_BREAKER_RULES = {"failures": COUNT, "window": DURATION, "pause": DURATION}
_COALESCE_RULES = {"within": DURATION, "max_wait": DURATION}
_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")
_SECONDS = {"s": 1, "m": 60, "h": 3600}

_RULES: dict[str, Rule] = {
    "queue": optional(Rule(NAME.accepts, "the name of a queue")),
    "atomic": BOOL,
    "retry": optional(a(RetryPolicy)),
    "timeout": optional(DURATION),
    "rate_limit": optional(
        Rule(
            _is_rate,
            'a positive number per second, or text such as "10/m"',
        )
    ),
    "on_missing": Rule(
        lambda on_missing: on_missing in get_args(OnMissing),
        "'reject', 'skip' or 'none'",
    ),
    "group_commit": BOOL,
    "max_concurrency": optional(COUNT),
    "breaker": optional(a(Breaker)),
    "ordered": BOOL,
    "on_dead": Rule(lambda on_dead: on_dead in get_args(OnDead), "'block' or 'skip'"),
    "coalesce": optional(a(Coalesce)),
    "batch": optional(
        Rule(
            lambda most: COUNT.accepts(most) and most <= MAX_BATCH,
            f"a whole number from 1 to {MAX_BATCH}",
        )
    ),
}
