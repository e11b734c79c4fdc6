"""Deliveries that wait behind their key use no limit of their receiver."""

from __future__ import annotations

from typing import Any

import pytest

from signal_tasks.steering import rates
from tests.signal_tasks.ordering.steps import LATER, Ordered, row

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("atomic", [True, False])


@both
def test_what_waits_for_its_turn_takes_no_token(atomic: bool) -> None:
    ordered = Ordered(atomic=atomic, rate_limit="1/h")
    first, *others = ordered.send_all(range(4))
    ordered.run(*others)
    ordered.run(first)
    assert ordered.calls == [0]
    assert [row(handle).attempts for handle in others] == [0, 0, 0]


@pytest.fixture
def _keep_tokens(monkeypatch: Any) -> None:
    """Keep tokens however busy the machine is."""
    monkeypatch.setattr(rates, "KEEP_SECONDS", 60.0)


@pytest.mark.usefixtures("_keep_tokens")
def test_what_waits_behind_a_retry_takes_no_token() -> None:
    ordered = Ordered(rate_limit="2/h", retry=LATER)
    ordered.failing = {0}
    first, second = ordered.send_all(range(2))
    ordered.run(first)
    rates.give_back(ordered.name, "default", 1)  # as if the hour had passed
    ordered.run(first, second)
    ordered.run(ordered.send("other", key="other"))
    assert ordered.calls == [0, "other"]


@both
@pytest.mark.usefixtures("_keep_tokens")
def test_what_is_behind_a_failure_gives_its_tokens_back(
    atomic: bool, django_assert_num_queries: Any
) -> None:
    ordered = Ordered(atomic=atomic, rate_limit="80/s", retry=LATER)
    ordered.failing = {0}
    ordered.run(*ordered.send_all(range(5)))
    with django_assert_num_queries(0):
        assert rates.take(ordered.name, "default", 80.0, 10) == 4


def test_all_that_may_start_of_a_key_runs_in_its_order_within_a_limit() -> None:
    ordered = Ordered(rate_limit="1000/s")
    handles = ordered.send_all(range(20))
    for handle in reversed(handles):
        ordered.run(handle)
    assert ordered.calls == list(range(len(ordered.calls)))
