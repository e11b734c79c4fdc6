"""Decide when to run a failed or lost delivery again: a pure policy.

No database, clock or broker here: attempt, age and random numbers come in as
arguments.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from signal_tasks.exceptions import Reject, Retry, WorkerLost
from signal_tasks.states import Reason
from signal_tasks.validation import NOT_NEGATIVE, POSITIVE, Rule, errors

ExceptionTypes = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Run a failing delivery again, so often and after such delays.

    The delay after attempt ``n`` is drawn evenly from 0 to ``backoff * factor **
    (n - 1)`` seconds, at most ``max_delay`` (full jitter). A policy is frozen and may
    be shared.

    Attributes:
        max_attempts: starts, the first and crashed ones included; then the delivery
            is dead (``exhausted``, or ``lost`` when its last worker died).
        backoff: seconds; the longest delay after the first attempt.
        factor: by how much the delay grows with each attempt.
        max_delay: seconds; the longest delay.
        jitter: draw the delay; else it is the longest itself.
        retry_on: exceptions that another attempt may mend; others make the delivery
            dead (``rejected``) at once.
        give_up_on: exceptions among those that it cannot mend after all.
        give_up_after: seconds since the event was sent, by the database's clock,
            after which no further attempt is made; None: no limit. The first attempt
            is always made, however late: also the first after a replay.

    Raises:
        ValueError: a number is out of its range.
        TypeError: ``retry_on`` or ``give_up_on`` holds no exception class.
    """

    max_attempts: int = 10
    backoff: float = 2.0
    factor: float = 2.0
    max_delay: float = 3600.0
    jitter: bool = True
    retry_on: ExceptionTypes = (Exception,)
    give_up_on: ExceptionTypes = ()
    give_up_after: float | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _RULES}
        for error in errors(_RULES, given, "RetryPolicy: {}"):
            raise ValueError(error)
        for field in ("retry_on", "give_up_on"):
            object.__setattr__(self, field, _exception_types(self, field))

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Return the seconds to wait after attempt number ``attempt`` (from 1)."""
        ceiling = self._ceiling(max(attempt, 1))
        return rng.uniform(0.0, ceiling) if self.jitter else ceiling

    def _ceiling(self, attempt: int) -> float:
        try:
            return min(self.max_delay, self.backoff * self.factor ** (attempt - 1))
        except OverflowError:
            return self.max_delay

    def is_over(self, age: float) -> bool:
        """Return True when ``give_up_after`` forbids an attempt at that age."""
        return self.give_up_after is not None and age > self.give_up_after

    def refuses(self, error: BaseException) -> bool:
        """Return True for an error that another attempt cannot mend."""
        if isinstance(error, self.give_up_on):
            return True
        return isinstance(error, Exception) and not isinstance(error, self.retry_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDecision:
    """Dead with a reason, or run again after a delay (seconds).

    One that does not count may be repeated ``most`` times, if that is not None.
    """

    reason: Reason | None = None
    delay: float = 0.0
    counts: bool = True
    most: int | None = None


def decide(
    policy: RetryPolicy,
    error: BaseException,
    *,
    attempt: int,
    age: float,
    rng: random.Random,
    by_type: bool = True,
) -> RetryDecision:
    """Decide what follows attempt number ``attempt`` of an event ``age`` seconds old.

    ``error`` is what the receiver raised, or ``WorkerLost`` when its worker died. Without
    ``by_type`` the type of the error does not matter: it is retried.
    """
    lost = isinstance(error, WorkerLost)
    by_type = by_type and not isinstance(error, Retry | WorkerLost)
    if isinstance(error, Reject) or (by_type and policy.refuses(error)):
        return RetryDecision(reason=Reason.REJECTED)
    delay, counts = policy.delay(attempt, rng), True
    if isinstance(error, Retry):
        delay, counts = (delay if error.after is None else error.after), error.counts
    if (counts and attempt >= policy.max_attempts) or policy.is_over(age + delay):
        return RetryDecision(reason=Reason.LOST if lost else Reason.EXHAUSTED)
    endless = not counts and policy.give_up_after is None
    most = Retry.MAX_UNCOUNTED if endless else None
    return RetryDecision(delay=delay, counts=counts, most=most)


def _exception_types(policy: RetryPolicy, field: str) -> ExceptionTypes:
    value = getattr(policy, field)
    several = value if isinstance(value, Iterable) else (value,)
    types = (value,) if isinstance(value, type) else tuple(several)
    for item in types:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise TypeError(
                f"RetryPolicy: {field} holds {item!r}; give exception classes"
            )
    return types


_RULES = {
    "max_attempts": Rule(lambda n: isinstance(n, int) and n >= 1, "1 or more"),
    "backoff": NOT_NEGATIVE,
    "factor": NOT_NEGATIVE,
    "max_delay": NOT_NEGATIVE,
    "give_up_after": Rule(
        lambda seconds: seconds is None or POSITIVE.accepts(seconds),
        "a positive number of seconds, or None for no limit",
    ),
}
