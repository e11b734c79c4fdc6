"""SIGNAL_TASKS["ALERTS"]: what is wrong with it is said by ``manage.py check``."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks as django_checks

from signal_tasks.conf import setting_errors
from signal_tasks.conf import settings as ours
from tests.signal_tasks.alerting import steps

CALL = {"CALL": [steps.HEAR]}


@pytest.mark.parametrize(
    "right",
    [
        None,
        {"EMAIL": ["ops@example.com"]},
        {**CALL, "AFTER": 0, "COOLDOWN": 60, "URL": "https://shop.example.com/s/"},
    ],
)
def test_what_makes_sense_is_no_error(right: Any) -> None:
    assert list(setting_errors({"ALERTS": right})) == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("ops@example.com", "give a dict, or None"),
        ({}, "names nobody to be told; give EMAIL or CALL"),
        ({**CALL, "COOL_DOWN": 5}, "there are EMAIL, CALL, URL, AFTER, COOLDOWN"),
        ({"EMAIL": "ops@example.com"}, "a list of e-mail addresses, or 'ADMINS'"),
        ({"EMAIL": ["ops"]}, "a list of e-mail addresses, or 'ADMINS'"),
        ({"EMAIL": "ADMINS"}, "the setting ADMINS is empty"),
        ({"CALL": steps.HEAR}, "a list of dotted paths"),
        ({**CALL, "URL": "shop.example.com"}, "with https:// in front"),
        ({**CALL, "AFTER": -1}, "a number of seconds that is not negative"),
        ({**CALL, "COOLDOWN": 0}, "a positive number of seconds"),
        ({**CALL, "COOLDOWN": "10m"}, "a positive number of seconds"),
    ],
)
def test_what_makes_no_sense_is_said(wrong: Any, error: str) -> None:
    (said,) = setting_errors({"ALERTS": wrong})
    assert said.startswith("SIGNAL_TASKS['ALERTS']")
    assert error in said


@pytest.mark.parametrize("wrong", [5, "text", [], {"EVERY": 5}])
def test_what_is_wrong_ends_no_start(wrong: Any, settings: Any) -> None:
    settings.SIGNAL_TASKS = {"ALERTS": wrong}
    ours()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (
            "nowhere.at_all",
            "which cannot be imported: ModuleNotFoundError: No module named 'nowhere'",
        ),
        (f"{steps.HERE}.heard", "which cannot be called"),
    ],
)
def test_a_path_that_leads_to_no_callable_is_an_error_of_check(
    path: str, error: str, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "ALERTS": {"CALL": [path]}}
    (message,) = [
        each
        for each in django_checks.run_checks(tags=["signal_tasks"])
        if each.id == "signal_tasks.E001"
    ]
    assert error in str(message.msg)
