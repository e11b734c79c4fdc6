"""When to run a failed delivery again: a pure policy.

No database, clock or broker here: attempt, age and random numbers come in as
arguments.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from signal_tasks.exceptions import Reject, Retry
from signal_tasks.states import Reason

ExceptionTypes = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after which delays, a failing delivery is run again.

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
        give_up_after: seconds since the event was sent, after which no further
            attempt is made; None: no limit.

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
        if not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise ValueError(
                f"RetryPolicy: max_attempts is {self.max_attempts!r}; give 1 or more"
            )
        for field in ("backoff", "factor", "max_delay"):
            if not getattr(self, field) >= 0:
                raise ValueError(
                    f"RetryPolicy: {field} is {getattr(self, field)!r}; "
                    "give a number that is not negative"
                )
        if self.give_up_after is not None and not self.give_up_after > 0:
            raise ValueError(
                f"RetryPolicy: give_up_after is {self.give_up_after!r}; "
                "give a positive number of seconds, or None for no limit"
            )
        for field in ("retry_on", "give_up_on"):
            object.__setattr__(self, field, _exception_types(self, field))

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after failed attempt number ``attempt`` (from 1)."""
        ceiling = self._ceiling(max(attempt, 1))
        return rng.uniform(0.0, ceiling) if self.jitter else ceiling

    def _ceiling(self, attempt: int) -> float:
        try:
            return min(self.max_delay, self.backoff * self.factor ** (attempt - 1))
        except OverflowError:
            return self.max_delay

    def refuses(self, error: BaseException) -> bool:
        """Whether this error is one that another attempt cannot mend."""
        if isinstance(error, self.give_up_on):
            return True
        return isinstance(error, Exception) and not isinstance(error, self.retry_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a failed attempt: dead with a reason, or again in a while."""

    reason: Reason | None = None
    delay: float = 0.0
    counts: bool = True


def judge(
    policy: RetryPolicy,
    error: BaseException,
    *,
    attempt: int,
    age: float,
    rng: random.Random,
) -> Verdict:
    """Decide over attempt number ``attempt`` of an event ``age`` seconds old."""
    if isinstance(error, Reject):
        return Verdict(reason=Reason.REJECTED)
    if isinstance(error, Retry):
        return _asked_again(policy, error, attempt=attempt, age=age, rng=rng)
    if policy.refuses(error):
        return Verdict(reason=Reason.REJECTED)
    delay = policy.delay(attempt, rng)
    if attempt >= policy.max_attempts or _too_old(policy, age + delay):
        return Verdict(reason=Reason.EXHAUSTED)
    return Verdict(delay=delay)


def _asked_again(
    policy: RetryPolicy, error: Retry, *, attempt: int, age: float, rng: random.Random
) -> Verdict:
    delay = policy.delay(attempt, rng) if error.after is None else error.after
    spent = error.counts and attempt >= policy.max_attempts
    if spent or _too_old(policy, age + delay):
        return Verdict(reason=Reason.EXHAUSTED)
    return Verdict(delay=delay, counts=error.counts)


def _too_old(policy: RetryPolicy, age: float) -> bool:
    return policy.give_up_after is not None and age > policy.give_up_after


def _exception_types(policy: RetryPolicy, field: str) -> ExceptionTypes:
    value = getattr(policy, field)
    types = (value,) if isinstance(value, type) else tuple(value)
    for item in types:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise TypeError(
                f"RetryPolicy: {field} holds {item!r}; give exception classes"
            )
    return types
