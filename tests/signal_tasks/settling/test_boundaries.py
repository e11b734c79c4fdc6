"""Whatever a project's code does harms its own event alone, and ends no relay."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.models import F

from signal_tasks import AsyncSignal, operations, signals
from signal_tasks.models import Delivery, Event, Operation
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.operations.steps import run_pass
from tests.signal_tasks.settling.steps import (
    hear_settled,
    let_pass,
    look_as_a_relay,
    run,
    settlings,
    told,
    waiting,
)
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)

Act = Callable[[], object]


class Away(DatabaseWrapper):
    """Another database of the project, whose server refuses connections."""

    def __init__(self) -> None:
        nowhere = {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": "1",
            "NAME": "x",
            "USER": "x",
            "PASSWORD": "x",
            "OPTIONS": {},
        }
        settings = {**connection.settings_dict, **nowhere}
        super().__init__(settings, "reports")

    def ensure_connection(self) -> None:
        """Connect, though a test allows no database that it does not name."""
        with self.wrap_database_errors:
            self.connect()


def read_reports() -> None:
    Away().cursor()


@pytest.fixture
def _reports_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    away = Away()
    monkeypatch.setitem(connections.settings, "reports", away.settings_dict)
    connections["reports"] = away
    yield
    del connections["reports"]


def does(signal: AsyncSignal, act: Act) -> list[int]:
    """Connect an inline receiver of ``settled`` that does this for the event 1."""
    heard = []

    def receive(sender: object, n: int, **kwargs: Any) -> None:
        if n == 1:
            act()
        heard.append(n)

    signal.settled.connect(receive, weak=False, inline=True)
    return heard


def send_five(signal: AsyncSignal) -> Event:
    """Send five events, which finish without anybody who looks; return number 1."""
    ids = signal.send_many(sender=None, items=[{"n": n} for n in range(5)])
    finish(Delivery.objects.filter(event__in=ids), "succeeded")
    let_pass(11)
    return Event.objects.get(pk=ids[1])


def is_given_up(failures: list[signals.SettlingFailed]) -> bool:
    """Let a relay look after eight days; return True if it then gives the rest up."""
    Delivery.objects.update(finished_at=F("finished_at") - timedelta(days=8))
    let_pass(2000)
    look_as_a_relay()
    return failures[-1].given_up and not waiting()


# -- faults of databases ----------------------------------------------------------


def close() -> None:
    connection.close()


def close_and_go_on() -> None:
    with suppress(DatabaseError):
        connection.close()
        Thing.objects.create(name="too late")


def enter() -> None:
    transaction.atomic().__enter__()


def roll_back() -> None:
    transaction.set_rollback(True)


def break_a_constraint() -> None:
    """Checked at the commit, where a database can."""
    Permission.objects.create(content_type_id=999_999, codename="x", name="x")


acts = pytest.mark.parametrize(
    "act",
    [read_reports, close, close_and_go_on, enter, roll_back, break_a_constraint],
)


@acts
def test_what_fails_for_one_event_keeps_no_other_from_settling(
    signal: AsyncSignal, act: Act
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.durable")
    does(signal, act)
    event = send_five(signal)
    failures = told()
    look_as_a_relay()
    assert settlings(signal) == 4
    assert waiting() == {event.pk}
    assert {each.event_id for each in failures} == {event.pk}
    assert {each.signal for each in failures} == {signal.name}
    assert not any(each.given_up for each in failures)


@acts
def test_it_is_given_up_after_a_week(signal: AsyncSignal, act: Act) -> None:
    listen(signal, name="t.only")
    does(signal, act)
    event = send_five(signal)
    failures = told()
    assert is_given_up(failures)
    assert failures[-1].event_id == event.pk


@pytest.mark.parametrize("asked", ["when", "key"])
def test_an_event_whose_receiver_asks_a_database_that_is_away_is_tried_again(
    signal: AsyncSignal, asked: str
) -> None:
    away = [True]

    def ask(sender: object, n: int, **kwargs: Any) -> str:
        if n == 1 and away:
            read_reports()
        return "yes"

    options: dict[str, Any] = {"when": ask}
    if asked == "key":
        signal = AsyncSignal(name=f"{signal.name}_keyed", key=ask)
        options = {"ordered": True}
    listen(signal, name="t.only")
    hear_settled(signal, name="t.asking", **options)
    event = send_five(signal)
    failures = told()
    look_as_a_relay()
    assert settlings(signal) == 4
    assert [(each.event_id, each.given_up) for each in failures] == [(event.pk, False)]
    away.clear()
    let_pass(2000)
    look_as_a_relay()
    assert settlings(signal) == 5


@pytest.mark.usefixtures("_reports_away")
def test_so_is_one_whose_payload_refers_to_a_row_of_a_database_that_is_away(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.settled")
    thing = Thing.objects.create(name="a thing")
    for n in range(5):
        signal.send(sender=None, n=n, thing=thing)
    event = Event.objects.order_by("pk")[1]
    moved = event.payload.replace('"default"', '"reports"')
    assert moved != event.payload
    Event.objects.filter(pk=event.pk).update(payload=moved)
    finish(Delivery.objects.all(), "succeeded")
    let_pass(11)
    failures = told()
    look_as_a_relay()
    assert settlings(signal) == 4
    assert {each.event_id for each in failures} == {event.pk}
    assert is_given_up(failures)


def test_an_error_of_ours_that_is_over_does_not_make_a_later_fault_ours(
    signal: AsyncSignal,
) -> None:
    """The others would have to be done again, each by itself."""
    listen(signal, name="t.only")
    heard = does(signal, read_reports)
    send_five(signal)
    with suppress(DatabaseError):
        list(Thing.objects.extra(where=["no_such_column = 1"]))
    look_as_a_relay()
    assert heard == [0, 2, 3, 4]


# -- hooks ------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("smtp"), SystemExit()])
def test_a_failing_hook_of_an_inline_receiver_costs_no_other_event_its_hook(
    signal: AsyncSignal, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    sent = []

    def receive(sender: object, n: int, **kwargs: Any) -> None:
        def mail() -> None:
            if n == 1:
                raise error
            sent.append(n)

        transaction.on_commit(mail)

    listen(signal, name="t.only")
    hear_settled(signal, name="t.settled")
    signal.settled.connect(receive, weak=False, inline=True)
    signal.send_many(sender=None, items=[{"n": n} for n in range(5)])
    failures = told()
    run("t.only")
    assert sent == [0, 2, 3, 4]
    assert settlings(signal) == 5
    assert not failures
    assert not waiting()
    assert f"commit_hook_failed receiver={signal.settled.name}" in caplog.text


def test_the_hook_of_an_event_that_fails_is_not_run(signal: AsyncSignal) -> None:
    sent = []

    def receive(sender: object, n: int, **kwargs: Any) -> None:
        transaction.on_commit(lambda: sent.append(n))
        if n == 1:
            raise ValueError("on purpose")

    listen(signal, name="t.only")
    signal.settled.connect(receive, weak=False, inline=True)
    send_five(signal)
    look_as_a_relay()
    assert sent == [0, 2, 3, 4]


# -- ends of a process ------------------------------------------------------------


def leave() -> None:
    sys.exit(1)


def cancel() -> None:
    raise asyncio.CancelledError


ends = pytest.mark.parametrize("act", [leave, cancel])


def pass_of_a_relay() -> None:
    relay = Relay("relay@test")
    try:
        relay.run_once()
    finally:
        relay.close()


@ends
def test_an_inline_receiver_ends_no_relay(signal: AsyncSignal, act: Act) -> None:
    listen(signal, name="t.only")
    heard = does(signal, act)
    event = send_five(signal)
    failures = told()
    pass_of_a_relay()
    assert heard == [0, 2, 3, 4]
    assert [each.event_id for each in failures] == [event.pk]
    assert is_given_up(failures)


def test_an_async_inline_receiver_ends_no_relay(signal: AsyncSignal) -> None:
    async def receive(sender: object, n: int, **kwargs: Any) -> None:
        if n == 1:
            raise asyncio.CancelledError

    listen(signal, name="t.only")
    signal.settled.connect(receive, weak=False, inline=True)
    event = send_five(signal)
    pass_of_a_relay()
    assert waiting() == {event.pk}


@ends
def test_a_when_ends_no_relay_and_keeps_settled_from_its_receiver_alone(
    signal: AsyncSignal, act: Act
) -> None:
    def ask(sender: object, **kwargs: Any) -> bool:
        act()
        return True

    listen(signal, name="t.only")
    hear_settled(signal, name="t.ending", when=ask)
    hear_settled(signal, name="t.other")
    signal.send(sender=None)
    finish(Delivery.objects.all(), "succeeded")
    let_pass(11)
    failures = told()
    pass_of_a_relay()
    assert [each.receiver for each in failures] == ["t.ending"]
    assert settlings(signal) == 1
    assert not Delivery.objects.filter(receiver="t.ending").exists()


def test_an_inline_receiver_ends_no_worker(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    does(signal, leave)
    signal.send(sender=None, n=1)
    run("t.only")
    assert Delivery.objects.get().state == "succeeded"
    assert len(waiting()) == 1


def test_ctrl_c_ends_a_relay(signal: AsyncSignal) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    listen(signal, name="t.only")
    does(signal, interrupt)
    send_five(signal)
    with pytest.raises(KeyboardInterrupt):
        look_as_a_relay()
    assert len(waiting()) == 5


# -- backfills --------------------------------------------------------------------


def backfill(signal: AsyncSignal, act: Act) -> Operation:
    """Have relays ask for three events whether a late receiver hears them."""

    def ask(sender: object, n: int, **kwargs: Any) -> bool:
        if n == 1:
            act()
        return True

    listen(signal, name="t.first")
    signal.send_many(sender=None, items=[{"n": n} for n in range(3)])
    run_pending()
    listen(signal, name="t.late", when=ask)
    operations.backfill("t.late", since=timedelta(hours=1))
    run_pass(5)
    return Operation.objects.get()


@pytest.mark.parametrize("act", [leave, cancel, read_reports])
def test_a_when_that_a_backfill_asks_ends_no_relay(
    signal: AsyncSignal, act: Act
) -> None:
    """Nor keeps it from its other work."""
    operation = backfill(signal, act)
    assert (operation.state, operation.done, operation.failed) == ("done", 2, 1)
    assert Delivery.objects.filter(receiver="t.late").count() == 2


@pytest.mark.parametrize("act", [close, enter])
def test_a_when_that_leaves_the_connection_broken_stops_its_backfill(
    signal: AsyncSignal, act: Act
) -> None:
    operation = backfill(signal, act)
    assert operation.state == "stopped"
    assert not Delivery.objects.filter(receiver="t.late").exists()
