"""The SIGNAL_TASKS setting: defaults, checks of values, changes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from signal_tasks import RetryPolicy
from signal_tasks.conf import setting_errors
from signal_tasks.conf import settings as ours
from signal_tasks.db.aliases import outbox_aliases


def test_without_a_setting_the_defaults_hold() -> None:
    with override_settings(SIGNAL_TASKS={}):
        assert ours().MAX_PAYLOAD_BYTES == 262_144
        assert ours().DATABASES is None
        assert RetryPolicy() == ours().RETRY
        assert ours().KEEP_DEAD is None
        assert ours().KEEP_SUCCEEDED is not None


def test_a_changed_setting_holds_at_once() -> None:
    with override_settings(SIGNAL_TASKS={"LEASE": 5}):
        assert ours().LEASE == 5
    with override_settings(SIGNAL_TASKS={"LEASE": 7}):
        assert ours().LEASE == 7


@pytest.mark.parametrize("wrong", [5, "text", None, {"DATABASES": 5}])
def test_what_is_wrong_is_left_to_check_and_ends_no_start(wrong: Any) -> None:
    with override_settings(SIGNAL_TASKS=wrong):
        assert ours().LEASE == 60
        assert "default" in outbox_aliases()
        assert list(setting_errors(wrong))


def test_the_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        ours().LEASE = 3  # type: ignore[misc]


RIGHT: dict[str, Any] = {
    "DATABASES": ["default"],
    "QUEUE": "events",
    "RETRY": RetryPolicy(max_attempts=3),
    "LEASE": 30,
    "MAX_PAYLOAD_BYTES": 1000,
    "RELAY_IN_WORKER": False,
    "KEEP_DEAD": timedelta(days=90),
    "KEEP_SUCCEEDED": None,
    "MAX_PENDING_AGE": 0.5,
}


@pytest.mark.parametrize("key", RIGHT)
def test_a_value_that_makes_sense_is_no_problem(key: str) -> None:
    assert list(setting_errors({key: RIGHT[key]})) == []


WRONG: list[tuple[str, Any, str]] = [
    ("DATABASES", "default", "list of aliases"),
    ("DATABASES", ["nowhere"], "list of aliases"),
    ("QUEUE", "", "a name"),
    ("QUEUE", 5, "a name"),
    ("RETRY", {"max_attempts": 3}, "RetryPolicy"),
    ("LEASE", 0, "positive number"),
    ("LEASE", "60", "positive number"),
    ("LEASE", True, "positive number"),
    ("LEASE", None, "positive number"),
    ("LEASE", float("nan"), "positive number"),
    ("CHUNK_SIZE", 1.5, "positive whole number"),
    ("RELAY_IN_WORKER", "no", "True or False"),
    ("KEEP_DEAD", 90, "timedelta"),
]


@pytest.mark.parametrize(("key", "value", "wanted"), WRONG)
def test_a_value_that_makes_no_sense_is_told_with_what_would(
    key: str, value: Any, wanted: str
) -> None:
    (problem,) = setting_errors({key: value})
    assert problem.startswith(f"SIGNAL_TASKS[{key!r}] is {value!r}; give ")
    assert wanted in problem


@pytest.mark.parametrize("key", ["LEASES", "lease", "Lease"])
def test_a_key_that_is_misspelt_brings_a_suggestion(key: str) -> None:
    (problem,) = setting_errors({key: 1})
    assert problem == (f"SIGNAL_TASKS[{key!r}] is not a setting. Did you mean 'LEASE'?")


def test_a_key_like_no_other_brings_none() -> None:
    (problem,) = setting_errors({"XYZZY": 1})
    assert problem == "SIGNAL_TASKS['XYZZY'] is not a setting."


def test_a_key_that_is_no_text_is_told_too() -> None:
    (problem,) = setting_errors({3: 1})
    assert problem.startswith("SIGNAL_TASKS[3] is not a setting.")


@pytest.mark.parametrize("value", [None, [], "LEASE"])
def test_the_setting_has_to_be_a_dict(value: Any) -> None:
    (problem,) = setting_errors(value)
    assert problem.endswith("give a dict.")


def test_every_problem_is_told() -> None:
    assert len(list(setting_errors({"LEASE": 0, "QUEUE": 1, "NOPE": 1}))) == 3
