"""The retry policy: a pure function of attempt, age, error and chance."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from signal_tasks import Reject, Retry, RetryPolicy
from signal_tasks.retry import decide
from signal_tasks.states import Reason

delays = st.floats(min_value=0, max_value=1e6)
attempts = st.integers(min_value=1, max_value=10_000)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(min_value=1, max_value=50),
    backoff=delays,
    factor=st.floats(min_value=0, max_value=1e3),
    max_delay=delays,
    jitter=st.booleans(),
)
seeds = st.integers()


@given(policies, attempts, seeds)
def test_a_delay_is_never_negative_nor_beyond_the_longest(
    policy: RetryPolicy, attempt: int, seed: int
) -> None:
    assert 0 <= policy.delay(attempt, random.Random(seed)) <= policy.max_delay


@given(policies, attempts, seeds)
def test_jitter_only_ever_shortens_a_delay(
    policy: RetryPolicy, attempt: int, seed: int
) -> None:
    even = {**_fields(policy), "jitter": False}
    ceiling = RetryPolicy(**even).delay(attempt, random.Random(seed))
    assert policy.delay(attempt, random.Random(seed)) <= ceiling


@given(st.floats(min_value=0.1, max_value=10), st.floats(min_value=1, max_value=10))
def test_without_jitter_each_delay_is_a_multiple_of_the_one_before(
    backoff: float, factor: float
) -> None:
    policy = RetryPolicy(backoff=backoff, factor=factor, max_delay=1e9, jitter=False)
    rng = random.Random(0)
    assert policy.delay(1, rng) == backoff
    assert policy.delay(3, rng) == pytest.approx(backoff * factor**2)


def test_jitter_is_full_and_even() -> None:
    policy, rng = RetryPolicy(backoff=100), random.Random(1)
    drawn = [policy.delay(1, rng) for _ in range(10_000)]
    assert min(drawn) < 1
    assert max(drawn) > 99
    assert sum(drawn) / len(drawn) == pytest.approx(50, abs=2)


def test_an_attempt_too_many_does_not_overflow() -> None:
    policy = RetryPolicy(factor=10.0, max_delay=60, jitter=False)
    assert policy.delay(100_000, random.Random(0)) == 60


@given(policies, attempts, delays, seeds)
def test_a_failure_is_retried_until_the_attempts_are_spent(
    policy: RetryPolicy, attempt: int, age: float, seed: int
) -> None:
    decision = decide(
        policy, ValueError(), attempt=attempt, age=age, rng=random.Random(seed)
    )
    spent = attempt >= policy.max_attempts
    assert decision.reason == (Reason.EXHAUSTED if spent else None)


@given(st.floats(min_value=0.1, max_value=1e5), delays, seeds)
def test_an_event_that_would_be_too_old_is_given_up(
    limit: float, age: float, seed: int
) -> None:
    policy = RetryPolicy(give_up_after=limit, backoff=10, factor=1, jitter=False)
    assume(abs(age + 10 - limit) > 0.001)
    decision = decide(policy, ValueError(), attempt=1, age=age, rng=random.Random(seed))
    assert (decision.reason is Reason.EXHAUSTED) == (age + 10 > limit)


@given(policies, attempts, seeds)
def test_a_rejection_is_final_at_once(
    policy: RetryPolicy, attempt: int, seed: int
) -> None:
    rng = random.Random(seed)
    decision = decide(policy, Reject("no"), attempt=attempt, age=0, rng=rng)
    assert decision.reason is Reason.REJECTED


@given(delays, attempts, seeds)
def test_a_receiver_that_asks_for_a_wait_gets_it(
    after: float, attempt: int, seed: int
) -> None:
    policy, rng = RetryPolicy(max_attempts=20_000), random.Random(seed)
    error = Retry(after=after)
    assert decide(policy, error, attempt=attempt, age=0, rng=rng).delay == after


def test_without_a_wait_the_policy_gives_one() -> None:
    policy, rng = RetryPolicy(backoff=7, jitter=False), random.Random(0)
    assert decide(policy, Retry(), attempt=1, age=0, rng=rng).delay == 7


def test_what_does_not_count_is_never_exhausted_but_may_be_too_old() -> None:
    rng, error = random.Random(0), Retry(counts=False)
    decision = decide(RetryPolicy(max_attempts=1), error, attempt=1, age=0, rng=rng)
    assert (decision.reason, decision.counts) == (None, False)
    old = RetryPolicy(give_up_after=1)
    decision = decide(old, error, attempt=1, age=5, rng=rng)
    assert decision.reason is Reason.EXHAUSTED


ERRORS: dict[str, tuple[dict[str, Any], BaseException, bool]] = {
    "any error": ({}, ValueError(), False),
    "given up on": ({"give_up_on": (ValueError,)}, UnicodeError(), True),
    "a type alone": ({"give_up_on": ValueError}, ValueError(), True),
    "a list of types": ({"retry_on": [OSError]}, ValueError(), True),
    "retried": ({"retry_on": (OSError,)}, ConnectionError(), False),
    "both": ({"retry_on": (OSError,), "give_up_on": (OSError,)}, OSError(), True),
    "no Exception": ({"retry_on": (OSError,)}, SystemExit(), False),
}


@pytest.mark.parametrize("what", ERRORS)
def test_a_policy_tells_which_errors_another_attempt_cannot_mend(what: str) -> None:
    options, error, refused = ERRORS[what]
    assert RetryPolicy(**options).refuses(error) is refused


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"max_attempts": None},
        {"backoff": -1},
        {"factor": -0.1},
        {"max_delay": float("nan")},
        {"give_up_after": 0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    (option,) = wrong
    with pytest.raises(ValueError, match=option):
        RetryPolicy(**wrong)


@pytest.mark.parametrize("wrong", [{"retry_on": "OSError"}, {"give_up_on": (1,)}])
def test_errors_have_to_be_exception_classes(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="exception classes"):
        RetryPolicy(**wrong)


def test_a_policy_is_frozen_and_compared_by_value() -> None:
    policy = RetryPolicy()
    with pytest.raises(FrozenInstanceError):
        policy.max_attempts = 3  # type: ignore[misc]
    assert policy == RetryPolicy(10, 2.0, 2.0, 3600.0, True, (Exception,), (), None)
    assert hash(policy) == hash(RetryPolicy())


def _fields(policy: RetryPolicy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in RetryPolicy.__dataclass_fields__}
