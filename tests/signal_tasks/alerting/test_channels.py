"""A channel that fails, or hangs, harms neither the relay nor another channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.core import mail
from django.db import ProgrammingError, connection
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal
from signal_tasks.alerting import rounds, state
from signal_tasks.alerting.channels import channels
from signal_tasks.conf import settings as ours
from signal_tasks.models import Gate, OpenAlert
from signal_tasks.relay.relay import Relay
from signal_tasks.signals import AlertFailed, alert_failed, pass_failed
from tests.signal_tasks.alerting import steps
from tests.signal_tasks.alerting.conftest import ChooseAlerts
from tests.signal_tasks.alerting.steps import die, pass_time, tell, told
from tests.signal_tasks.once.steps import at_once

BREAKER = ("breaker_open", False)


@pytest.fixture
def broken(worker: object) -> None:
    """Something that is wrong."""
    Gate.objects.create(receiver="t.mail", breaker="open", failures=5)


@pytest.fixture
def failures() -> Iterator[list[AlertFailed]]:
    """Return the failures that listeners hear of."""
    seen: list[AlertFailed] = []

    def listen(details: AlertFailed, **_: object) -> None:
        seen.append(details)

    alert_failed.connect(listen)
    yield seen
    alert_failed.disconnect(listen)


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay("relay@test")
    yield relay
    relay.close()


def open_alerts() -> list[tuple[str, bool]]:
    rows = OpenAlert.objects.exclude(key=OpenAlert.TURN).order_by("channel")
    return list(rows.values_list("channel", "told"))


# -- mail -------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_one_mail_tells_all_that_is_new(
    signal: AsyncSignal, choose: ChooseAlerts
) -> None:
    choose(EMAIL=["ops@example.com"], URL="https://shop.example.com/signals/")
    die(signal)
    tell()
    (message,) = mail.outbox
    assert message.to == ["ops@example.com"]
    assert message.subject == "[Django] signal_tasks: dead letters and 1 more"
    body = str(message.body)
    assert "1 delivery died and nobody has looked" in body
    assert "https://shop.example.com/signals/receivers/t.mail/" in body


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_mail_goes_to_the_admins_of_the_project(
    choose: ChooseAlerts, settings: Any
) -> None:
    pairs = django.VERSION < (6, 0)
    settings.ADMINS = [("Ann", "ann@example.com") if pairs else "ann@example.com"]
    choose(EMAIL="ADMINS")
    tell()
    (message,) = mail.outbox
    assert message.to == ["ann@example.com"]


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_the_mail_of_what_is_over_says_what_it_was(choose: ChooseAlerts) -> None:
    choose(EMAIL=["ops@example.com"])
    tell()
    Gate.objects.all().delete()
    pass_time()
    tell()
    _, message = mail.outbox
    assert message.subject.endswith("signal_tasks: over: breaker open: t.mail")
    assert "It was: the breaker of t.mail is open" in str(message.body)


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_of_several_outboxes_the_mail_and_its_links_name_one(
    choose: ChooseAlerts, settings: Any
) -> None:
    choose(EMAIL=["ops@example.com"], URL="https://shop.example.com/signals/")
    both = {**settings.SIGNAL_TASKS, "DATABASES": ["default", "other"]}
    settings.SIGNAL_TASKS = both
    tell()
    (message,) = mail.outbox
    assert "In the outbox 'default'" in str(message.body)
    assert "/signals/receivers/t.mail/?database=default" in str(message.body)


# -- failures ---------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_who_fails_is_told_again_and_others_are_not(
    choose: ChooseAlerts, failures: list[AlertFailed]
) -> None:
    choose(CALL=[steps.FAIL, steps.HEAR, "nowhere.at_all"])
    for _ in range(2):
        tell()
        pass_time(60)
    assert [failed.channel for failed in failures] == [
        steps.FAIL,
        "nowhere.at_all",
    ] * 2
    assert told() == [BREAKER]


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_a_callable_that_refuses_one_alert_is_told_the_others(
    choose: ChooseAlerts, signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_dead(alert: Any) -> None:
        if alert.kind != "dead_letters":
            raise ValueError(alert.kind)
        steps.heard.append(alert)

    monkeypatch.setattr(steps, "hear", only_dead)
    die(signal)
    for _ in range(2):
        tell()
        pass_time(60)
    assert told() == [("dead_letters", False)]


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_a_mail_server_that_is_down_is_nothing_to_a_relay(
    choose: ChooseAlerts,
    settings: Any,
    relay: Relay,
    failures: list[AlertFailed],
) -> None:
    settings.EMAIL_BACKEND = f"{steps.HERE}.BrokenMail"
    choose(EMAIL=["ops@example.com"])
    assert "default" in relay.run_once()
    relay.close()
    (failed,) = failures
    assert isinstance(failed.error, ConnectionRefusedError)
    assert open_alerts() == [("email", False)]


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_a_relay_goes_on_while_a_callable_hangs(
    choose: ChooseAlerts, relay: Relay
) -> None:
    choose(CALL=[steps.HANG, steps.HEAR])
    for _ in range(3):
        assert "default" in relay.run_once()
    steps.go_on.set()
    relay.close()
    assert open_alerts() == [(steps.HANG, True), (steps.HEAR, True)]
    assert told() == [BREAKER] * 2


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_what_was_sent_by_a_process_that_died_then_is_sent_again() -> None:
    options = ours().ALERTS
    assert options is not None
    (channel,) = channels(options)
    assert state.take_turn(channel.name, "default")
    found = state.look("default")
    list(channel.send(state.due(channel.name, found, options, "default")))
    tell()
    assert told() == [BREAKER]  # the turn is not over
    pass_time(state.TURN_SECONDS)
    tell()
    pass_time(state.TURN_SECONDS)
    tell()
    assert told() == [BREAKER]


def refuse_alerts(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """Fail as a database does whose table of alerts was not made."""
    if OpenAlert._meta.db_table in sql:
        raise ProgrammingError("there is no such table")
    return execute(sql, params, many, context)


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_alerts_that_fail_are_no_failure_of_the_pass(
    relay: Relay, failures: list[AlertFailed], connected: Callable[..., None]
) -> None:
    seen: list[object] = []

    def note(details: object, **_: object) -> None:
        seen.append(details)

    connected(pass_failed, note)
    with connection.execute_wrapper(refuse_alerts):
        assert "default" in relay.run_once()
    (failed,) = failures
    assert isinstance(failed.error, ProgrammingError)
    assert (failed.channel, failed.database, seen) == ("", "default", [])


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor == "sqlite", reason="it knows no such limit")
def test_a_look_has_the_limit_that_status_has() -> None:
    with CaptureQueriesContext(connection) as seen:
        state.look("default")
    limits = ("statement_timeout", "max_statement_time", "max_execution_time")
    assert any(limit in query["sql"] for limit in limits for query in seen)


# -- whose turn it is -------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broken")
def test_of_many_at_once_one_tells() -> None:
    for _ in range(3):
        _, errors = at_once(12, lambda _: tell())
        assert errors == []
        pass_time(rounds.LOOK_EVERY)
    assert told() == [BREAKER]


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_has_the_turn() -> None:
    answers, errors = at_once(12, lambda _: state.take_turn("email", "default"))
    assert (sum(answers), errors) == (1, [])


# -- without the setting ----------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.usefixtures("broken")
def test_without_the_setting_nothing_is_read_or_written(
    settings: Any, relay: Relay
) -> None:
    without = {k: v for k, v in settings.SIGNAL_TASKS.items() if k != "ALERTS"}
    settings.SIGNAL_TASKS = without
    with CaptureQueriesContext(connection) as seen:
        relay.run_once()
    assert not [query for query in seen if OpenAlert._meta.db_table in query["sql"]]
