"""The check of the fault suite sees every way in which a promise can be broken."""

from __future__ import annotations

from dataclasses import replace

from chaos.checker import FinalState, Observations, Run, check

INSIDE, AT_TIMES, OUTSIDE = ("act_inside", "act_at_times", "act_outside")
FINE = Observations(
    tickets={"a-1"},
    inside={("inside", "a-1"): 1, ("at times", "a-1"): 1},
    outside=[Run("a-1", "d", 1)],
    released=set(),
    ends=[FinalState("d", name, "succeeded") for name in (INSIDE, AT_TIMES, OUTSIDE)],
)


def test_all_that_was_sent_and_done_once_is_clean() -> None:
    result = check(FINE)
    assert result.clean
    assert result.events == 1


def test_an_atomic_effect_that_is_missing_is_lost() -> None:
    result = check(replace(FINE, inside={("inside", "a-1"): 1}))
    assert (result.lost, result.clean) == (1, False)


def test_a_non_atomic_effect_that_is_missing_is_lost() -> None:
    result = check(replace(FINE, outside=[]))
    assert (result.lost, result.clean) == (1, False)


def test_an_atomic_effect_that_is_there_twice_is_doubled() -> None:
    twice = {**FINE.inside, ("inside", "a-1"): 2}
    result = check(replace(FINE, inside=twice))
    assert (result.doubled, result.clean) == (1, False)


def test_a_repetition_after_a_lease_that_was_given_up_is_explained() -> None:
    runs = [Run("a-1", "d", 1), Run("a-1", "d", 2)]
    result = check(replace(FINE, outside=runs, released={("d", 1)}))
    assert (result.repeated, result.unexplained) == (1, 0)
    assert result.clean


def test_a_repetition_without_a_cause_is_not() -> None:
    runs = [Run("a-1", "d", 1), Run("a-1", "d", 2)]
    result = check(replace(FINE, outside=runs))
    assert (result.unexplained, result.clean) == (1, False)


def test_two_runs_under_one_lease_are_never_explained() -> None:
    runs = [Run("a-1", "d", 1), Run("a-1", "d", 1)]
    result = check(replace(FINE, outside=runs, released={("d", 1)}))
    assert (result.unexplained, result.clean) == (1, False)


def test_two_takes_of_which_a_killed_database_forgot_one_are_explained() -> None:
    runs = [Run("a-1", "d", 1, at=100.0), Run("a-1", "d", 1, at=103.0)]
    assert check(replace(FINE, outside=runs, crashes=[101.0])).clean
    assert not check(replace(FINE, outside=runs, crashes=[50.0, 104.0])).clean


def test_an_effect_of_an_event_that_was_rolled_back_is_found() -> None:
    runs = [*FINE.outside, Run("a-2", "e", 1)]
    result = check(replace(FINE, outside=runs))
    assert (result.unsent, result.clean) == (1, False)


def test_a_delivery_that_ended_dead_is_found() -> None:
    ends = [*FINE.ends[:2], FinalState("d", OUTSIDE, "dead", "lost")]
    assert not check(replace(FINE, ends=ends)).clean


def test_a_delivery_that_was_never_written_is_found() -> None:
    assert not check(replace(FINE, ends=FINE.ends[:2])).clean
