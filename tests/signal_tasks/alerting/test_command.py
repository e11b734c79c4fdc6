"""``manage.py signal_tasks alerts``, for cron."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import OperationalError, connections

from signal_tasks.models import Gate
from tests.signal_tasks.alerting import steps
from tests.signal_tasks.alerting.conftest import ChooseAlerts
from tests.signal_tasks.alerting.steps import pass_time
from tests.signal_tasks.alerting.steps import told as was_told
from tests.signal_tasks.command import both, command, told

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("worker")
def test_it_says_that_all_is_well() -> None:
    assert command("alerts") == "0 problems, 0 messages sent\n"


def test_without_a_worker_it_tells_so_and_exits_with_1() -> None:
    out, err = both("alerts", status=1)
    assert out.splitlines() == [
        f"told {steps.HEAR}: no_worker",
        "1 problem, 1 message sent",
    ]
    assert "no live worker or relay was seen" in err
    assert was_told() == [("no_worker", False)]


def test_the_json_has_what_is_wrong_and_what_was_told(choose: ChooseAlerts) -> None:
    choose(CALL=[steps.HEAR, steps.FAIL], URL="https://shop.example.com/signals/")
    seen = told("alerts", status=1)
    (problem,) = seen["problems"]
    assert problem["kind"] == "no_worker"
    assert problem["url"] == "https://shop.example.com/signals/workers/"
    (message,) = seen["told"]
    assert (message["channel"], message["kind"]) == (steps.HEAR, "no_worker")
    (failed,) = seen["failed"]
    assert failed == {
        "channel": steps.FAIL,
        "error": "ConnectionError: the chat is down",
    }


@pytest.mark.usefixtures("worker")
def test_it_tells_of_the_end_and_exits_with_0() -> None:
    Gate.objects.create(receiver="t.mail", breaker="open", failures=5)
    command("alerts", status=1)
    Gate.objects.all().delete()
    pass_time()
    assert command("alerts").splitlines() == [
        f"told {steps.HEAR}: over: breaker_open t.mail",
        "0 problems, 1 message sent",
    ]


@pytest.mark.django_db(databases=["default", "other"])
def test_an_outbox_that_is_down_keeps_nobody_from_being_told_of_the_others(
    settings: Any,
) -> None:
    both_outboxes = {"DATABASES": ["other", "default"]}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **both_outboxes}
    with connections["other"].execute_wrapper(be_down):
        seen = told("alerts", status=1)
        _, err = both("alerts", status=1)
    down = {"database": "other", "error": "OperationalError: the server is down"}
    assert seen["unread"] == [down]
    assert was_told() == [("no_worker", False)]
    assert "could not look at 'other': OperationalError" in err


def be_down(*_: object) -> None:
    """Fail as a database does that is away."""
    raise OperationalError("the server is down")


@pytest.mark.usefixtures("worker")
def test_a_test_message_is_sent_every_time(choose: ChooseAlerts) -> None:
    for _ in range(2):
        assert "1 message sent" in command("alerts", "--test")
    assert was_told() == [("test", False)] * 2
    choose(CALL=[steps.FAIL])
    assert f"could not tell {steps.FAIL}" in both("alerts", "--test", status=1)[1]


def test_without_the_setting_it_says_what_to_do(settings: Any) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "ALERTS": None}
    with pytest.raises(CommandError, match="names nobody to be told"):
        command("alerts")
