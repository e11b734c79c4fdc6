"""Options of a durable receiver: how its deliveries are run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from signal_tasks.retry import RetryPolicy
from signal_tasks.validation import BOOL, DURATION, NAME, Rule, a, errors, optional

OnMissing = Literal["reject", "skip", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of one receiver; ``connect()`` explains each."""

    queue: str | None = None
    atomic: bool = True
    retry: RetryPolicy | None = None
    timeout: float | None = None
    rate_limit: str | int | None = None
    on_missing: OnMissing = "reject"
    group_commit: bool = True

    def errors(self) -> Iterator[str]:
        """Yield a sentence for each option that makes no sense."""
        given = {name: getattr(self, name) for name in _RULES}
        return errors(_RULES, given)

    def non_default(self) -> dict[str, Any]:
        """Return the options that were set to something else than their default."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != each.default
        }


_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")

_RULES: dict[str, Rule] = {
    "queue": optional(Rule(NAME.accepts, "the name of a queue")),
    "atomic": BOOL,
    "retry": optional(a(RetryPolicy)),
    "timeout": optional(DURATION),
    "rate_limit": optional(
        Rule(
            lambda rate: _RATE.fullmatch(str(rate)) is not None,
            'a number per second, or text such as "10/m"',
        )
    ),
    "on_missing": Rule(
        lambda on_missing: on_missing in get_args(OnMissing),
        "'reject', 'skip' or 'none'",
    ),
    "group_commit": BOOL,
}
