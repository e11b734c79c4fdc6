"""The checker of the fault suite detects every way to break a promise."""

from __future__ import annotations

from dataclasses import replace

from chaos.checker import FinalState, Observations, Place, Run, Step, check

RECEIVERS = (
    "act_atomically",
    "act_or_fail",
    "act_externally",
    "act_in_order",
    "act_in_order_externally",
)
VALID = Observations(
    tickets={"a-1"},
    atomic_effects=dict.fromkeys(
        [("atomic", "a-1"), ("flaky", "a-1"), ("ordered", "a-1")], 1
    ),
    external_runs=[Run("a-1", "d", 1)],
    released=set(),
    final_states=[FinalState("d", name, "succeeded") for name in RECEIVERS],
    places={"a-1": Place("a:1", 1)},
    ordered_effects=["a-1"],
    steps=[Step("a-1", True, "o1", 1, 1.0), Step("a-1", False, "o1", 1, 2.0)],
)


def test_events_with_each_effect_once_are_valid() -> None:
    result = check(VALID)
    assert result.valid
    assert result.events == 1


def test_a_missing_atomic_effect_is_lost() -> None:
    without = {k: n for k, n in VALID.atomic_effects.items() if k != ("flaky", "a-1")}
    result = check(replace(VALID, atomic_effects=without))
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
    final_states = [*VALID.final_states[:4], dead]
    assert not check(replace(VALID, final_states=final_states)).valid


def test_a_delivery_that_was_never_written_is_detected() -> None:
    assert not check(replace(VALID, final_states=VALID.final_states[:4])).valid


# -- order ------------------------------------------------------------------------------

ALL = ("atomic", "flaky", "ordered")
#: Three events of one line, and one of another.
KEYS = ("a-1", "a-2", "a-3", "a-4")
LINES = {key: Place("a:x", n) for n, key in enumerate(KEYS[:3], 1)}
LINES["a-4"] = Place("a:y", 1)


def step(key: str, begins: bool, at: float, lease: int = 1) -> Step:
    return Step(key, begins, f"of {key}", lease, at)


def ran(*keys: str) -> list[Step]:
    """Return the steps of runs one behind the other."""
    return [
        step(key, begins, at=float(2 * place + (not begins)))
        for place, key in enumerate(keys)
        for begins in (True, False)
    ]


IN_ORDER = Observations(
    tickets=set(KEYS),
    atomic_effects=dict.fromkeys([(kind, key) for kind in ALL for key in KEYS], 1),
    external_runs=[Run(key, key, 1) for key in KEYS],
    released=set(),
    final_states=[
        FinalState(f"{name} {key}", name, "succeeded")
        for name in RECEIVERS
        for key in KEYS
    ],
    places=LINES,
    ordered_effects=["a-1", "a-4", "a-2", "a-3"],
    steps=ran("a-1", "a-4", "a-2", "a-3"),
)


def timed(*steps: Step) -> list[Step]:
    return sorted(steps, key=lambda each: each.at)


def violations(**changes: object) -> set[str]:
    """Return the kinds of violations in a history with these changes."""
    result = check(replace(IN_ORDER, **changes))  # type: ignore[arg-type]
    return {text.partition(":")[0] for text in result.violations}


def test_a_history_in_the_order_of_the_commits_is_valid() -> None:
    assert check(IN_ORDER).valid
    assert not violations(ordered_effects=["a-4", "a-1", "a-2", "a-3"])
    assert not violations(steps=ran("a-1", "a-2", "a-3", "a-4"))


def test_an_effect_before_one_that_was_committed_earlier_is_detected() -> None:
    effects = ["a-1", "a-3", "a-2", "a-4"]
    assert violations(ordered_effects=effects) == {"effect out of order"}


def test_a_run_that_begins_before_the_one_before_it_has_ended_is_detected() -> None:
    assert "began before its turn" in violations(steps=ran("a-1", "a-3", "a-2", "a-4"))
    failed = [step("a-1", True, 0.0), *ran("a-4")]
    later = timed(*failed, step("a-2", True, 3.0), step("a-2", False, 4.0))
    assert "began before its turn" in violations(steps=later)


def test_a_run_that_failed_and_runs_again_before_the_next_is_valid() -> None:
    again = [step("a-1", True, -2.0, 5), *IN_ORDER.steps]
    assert not violations(steps=again)


def test_a_run_that_repeats_one_before_the_last_is_not_detected_as_another() -> None:
    again = [*IN_ORDER.steps, step("a-3", True, 90.0, 2), step("a-3", False, 91.0, 2)]
    assert not violations(steps=again)


def test_two_runs_of_a_line_at_a_time_are_detected() -> None:
    zombie = step("a-1", True, -1.0, 7), step("a-1", False, 0.5, 7)
    steps = timed(*zombie, *IN_ORDER.steps)
    assert violations(steps=steps) == {"began while another was running"}


def test_a_run_that_has_lost_its_lease_may_go_on() -> None:
    zombie = step("a-1", True, -1.0, 7), step("a-1", False, 0.5, 7)
    steps = timed(*zombie, *IN_ORDER.steps)
    assert not violations(steps=steps, released={("of a-1", 7)})
    assert not violations(steps=steps, crashes=[-0.5])
    assert violations(steps=steps, crashes=[0.4])


def test_runs_of_two_lines_at_a_time_are_valid() -> None:
    other = [s for s in IN_ORDER.steps if s.key != "a-4"]
    steps = timed(*other, step("a-4", True, -1.0), step("a-4", False, 99.0))
    assert not violations(steps=steps)


def test_an_ordered_run_that_never_ended_is_lost() -> None:
    steps = [s for s in IN_ORDER.steps if s.key != "a-3" or s.begins]
    assert check(replace(IN_ORDER, steps=steps)).lost == 1


def test_an_ordered_run_of_a_rolled_back_event_is_detected() -> None:
    steps = [*IN_ORDER.steps, step("a-9", True, 50.0)]
    assert check(replace(IN_ORDER, steps=steps)).uncommitted == 1
