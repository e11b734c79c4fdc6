"""The checker of the fault suite detects every way to break a promise."""

from __future__ import annotations

from dataclasses import replace

from chaos.checker import FinalState, Observations, Run, check

RECEIVERS = ("act_atomically", "act_or_fail", "act_externally")
VALID = Observations(
    tickets={"a-1"},
    atomic_effects={("atomic", "a-1"): 1, ("flaky", "a-1"): 1},
    external_runs=[Run("a-1", "d", 1)],
    released=set(),
    final_states=[FinalState("d", name, "succeeded") for name in RECEIVERS],
)


def test_events_with_each_effect_once_are_valid() -> None:
    result = check(VALID)
    assert result.valid
    assert result.events == 1


def test_a_missing_atomic_effect_is_lost() -> None:
    result = check(replace(VALID, atomic_effects={("atomic", "a-1"): 1}))
    assert (result.lost, result.valid) == (1, False)


def test_a_missing_external_effect_is_lost() -> None:
    result = check(replace(VALID, external_runs=[]))
    assert (result.lost, result.valid) == (1, False)


def test_an_atomic_effect_that_exists_twice_is_duplicated() -> None:
    twice = {**VALID.atomic_effects, ("atomic", "a-1"): 2}
    result = check(replace(VALID, atomic_effects=twice))
    assert (result.duplicated, result.valid) == (1, False)


def test_a_repetition_after_a_released_lease_is_explained() -> None:
    runs = [Run("a-1", "d", 1), Run("a-1", "d", 2)]
    result = check(replace(VALID, external_runs=runs, released={("d", 1)}))
    assert (result.repeated, result.unexplained) == (1, 0)
    assert result.valid


def test_a_repetition_without_a_cause_is_unexplained() -> None:
    runs = [Run("a-1", "d", 1), Run("a-1", "d", 2)]
    result = check(replace(VALID, external_runs=runs))
    assert (result.unexplained, result.valid) == (1, False)


def test_the_lease_that_was_kept_may_be_that_of_any_run() -> None:
    runs = [Run("a-1", "d", 2), Run("a-1", "d", 1), Run("a-1", "d", 3)]
    released = {("d", 1), ("d", 2)}
    assert check(replace(VALID, external_runs=runs, released=released)).valid


def test_two_runs_under_one_lease_are_never_explained() -> None:
    runs = [Run("a-1", "d", 1), Run("a-1", "d", 1)]
    result = check(replace(VALID, external_runs=runs, released={("d", 1)}))
    assert (result.unexplained, result.valid) == (1, False)


def test_two_claims_of_which_a_killed_database_forgot_one_are_explained() -> None:
    runs = [Run("a-1", "d", 1, at=100.0), Run("a-1", "d", 2, at=103.0)]
    assert check(replace(VALID, external_runs=runs, crashes=[101.0])).valid
    assert not check(replace(VALID, external_runs=runs, crashes=[50.0, 104.0])).valid


def test_an_effect_of_a_rolled_back_event_is_detected() -> None:
    runs = [*VALID.external_runs, Run("a-2", "e", 1)]
    result = check(replace(VALID, external_runs=runs))
    assert (result.uncommitted, result.valid) == (1, False)


def test_a_dead_delivery_is_detected() -> None:
    dead = FinalState("d", "act_externally", "dead", "lost")
    final_states = [*VALID.final_states[:2], dead]
    assert not check(replace(VALID, final_states=final_states)).valid


def test_a_delivery_that_was_never_written_is_detected() -> None:
    assert not check(replace(VALID, final_states=VALID.final_states[:2])).valid
