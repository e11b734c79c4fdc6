"""The age of an event is the database's, whatever the clock of a worker says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from signal_tasks.models import Attempt, Delivery, Event
from tests.integration.workers import python, runs
from tests.testapp.receivers import fail_for_an_hour
from tests.testapp.signals import aged

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
NAME = f"{fail_for_an_hour.__module__}.{fail_for_an_hour.__qualname__}"
RUN = (
    "from signal_tasks.delivery.message import process_message\n"
    "print(process_message({name!r}, [{id!r}], 'default'))"
)
RECOVER = (
    "from signal_tasks.relay.recovery import recover\nprint(recover('default'), 'lost')"
)

pytestmark = [
    pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime"),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="it has no clock"),
    pytest.mark.usefixtures("transactional_db"),
]
CLOCKS = pytest.mark.parametrize("clock", ["+2h", "-2h"], ids=["fast", "slow"])


def elsewhere(code: str, clock: str, broker: str) -> str:
    """Run code in a process whose clock is wrong; return its last line."""
    told = {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": clock}
    done = python(code, broker, FAKETIME_DONT_FAKE_MONOTONIC="1", **told)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def delivery(redis: Any) -> Delivery:
    """Send an event that no worker gets to see."""
    aged.using(delay=timedelta(hours=1)).send(sender=None)
    make_due()
    found: Delivery = Delivery.objects.get()
    return found


def make_due() -> None:
    Delivery.objects.update(available_at=F("available_at") - timedelta(hours=3))


def grow_older() -> None:
    Event.objects.update(sent_at=F("sent_at") - timedelta(hours=1, minutes=5))


def run_once(delivery: Delivery, clock: str, broker: str) -> str:
    code = RUN.format(name=NAME, id=str(delivery.pk))
    told = elsewhere(code, clock, broker)
    delivery.refresh_from_db()
    make_due()
    return told


@CLOCKS
def test_a_wrong_clock_neither_ends_nor_prolongs_the_retries(
    clock: str, delivery: Delivery, redis: Any
) -> None:
    """After a failure, before a further attempt, and after a replay."""
    for attempt in (1, 2):
        assert run_once(delivery, clock, redis.url) == "1 failed"
        assert (delivery.state, delivery.attempts) == ("pending", attempt)
    grow_older()
    assert run_once(delivery, clock, redis.url) == "1 failed"
    assert (delivery.state, delivery.reason, len(runs())) == ("dead", "exhausted", 2)
    assert "give_up_after" in Attempt.objects.latest("pk").error
    Delivery.objects.all().replay()
    run_once(delivery, clock, redis.url)
    assert (delivery.state, delivery.attempts, len(runs())) == ("dead", 1, 3)


@CLOCKS
def test_a_wrong_clock_of_a_relay_neither_ends_nor_prolongs_the_retries(
    clock: str, delivery: Delivery, redis: Any
) -> None:
    states = []
    for grow in (False, True):
        if grow:
            grow_older()
        rows = Delivery.objects.all()
        (won,) = rows.claim([delivery.pk], names=[NAME], lease=60)
        rows.extend([delivery.pk], won.lease, 0)
        assert elsewhere(RECOVER, clock, redis.url) == "1 lost"
        delivery.refresh_from_db()
        make_due()
        states.append((delivery.state, delivery.attempts))
    assert states == [("pending", 1), ("dead", 2)]
