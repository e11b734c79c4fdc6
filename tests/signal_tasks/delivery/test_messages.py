"""Messages: each delivery is run once, when it is due, by its own receiver."""

from __future__ import annotations

import math
import uuid
from typing import Any

import pytest

from signal_tasks import AsyncSignal, current_delivery
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import atomic_or_not, connect, ids_of, send

pytestmark = pytest.mark.django_db


def test_a_message_that_comes_again_runs_nothing_again(signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.again")
    signal.send_many(sender=None, items=[{"n": n} for n in range(5)])
    ids = ids_of(signal, "t.again")
    process_message("t.again", [*ids, *ids], "default", seconds=math.inf)
    report = process_message("t.again", ids, "default", seconds=math.inf)
    assert len(calls) == 5
    assert report.not_due == 5


# -- forged messages --------------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [
        None,
        "text",
        7,
        {"a": 1},
        [],
        [None, 3, "x", [], {}, "0" * 32, "' OR 1=1 --"],
        [["nested"]],
        [str(uuid.uuid4())],
        ["\0"],
    ],
)
def test_a_forged_message_runs_nothing(ids: Any, signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.forged")
    handle = send(signal)
    process_message("t.forged", ids, "default", seconds=math.inf)
    assert calls == []
    assert handle.refresh().state == "pending"


@pytest.mark.parametrize("database", [None, "nowhere", 7, ["default"], "replica"])
def test_a_message_about_another_database_runs_nothing(
    database: Any, signal: AsyncSignal
) -> None:
    calls = listen(signal, name="t.elsewhere")
    handle = send(signal)
    report = process_message("t.elsewhere", [str(handle.id)], database)
    assert report.not_due == 1
    assert calls == []


def test_a_message_for_a_receiver_that_nobody_connected_imports_nothing(
    signal: AsyncSignal,
) -> None:
    report = process_message("os.system", [str(uuid.uuid4())], "default")
    assert str(report) == "1 not due"


def test_a_receiver_cannot_be_made_to_run_the_delivery_of_another(
    signal: AsyncSignal,
) -> None:
    mine = listen(signal, name="t.mine")
    other = AsyncSignal(name="t.not_mine")
    listen(other, name="t.theirs")
    handle = send(other)
    report = process_message("t.mine", [str(handle.id)], "default")
    assert report.not_due == 1
    assert mine == []
    assert handle.refresh().state == "pending"


def test_what_is_not_due_yet_is_not_run_whoever_asks(signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.later")
    ((_, handle),) = signal.using(delay=60).send(sender=None)
    process_message("t.later", [str(handle.id)], "default")
    assert calls == []
    assert handle.refresh().attempts == 0


@pytest.mark.parametrize("verb", ["discard", "finish"])
def test_what_is_finished_is_not_run_again(verb: str, signal: AsyncSignal) -> None:
    calls = listen(signal, name="t.finished")
    handle = send(signal)
    if verb == "discard":
        Delivery.objects.all().discard()
    else:
        run_pending()
    before = len(calls)
    process_message("t.finished", [str(handle.id)], "default")
    assert len(calls) == before


# -- fencing ----------------------------------------------------------------------


@atomic_or_not
def test_a_worker_that_lost_its_delivery_cannot_finish_it(
    atomic: bool, signal: AsyncSignal
) -> None:
    def lose(sender: object, **kwargs: Any) -> None:
        Delivery.objects.filter(pk=current_delivery().id).update(lease=7)

    connect(signal, lose, name="t.lose", atomic=atomic)
    handle = send(signal)
    report = process_message("t.lose", [str(handle.id)], "default")
    assert report.fenced == 1
    assert handle.refresh().state == "running"
