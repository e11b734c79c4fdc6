"""Each new problem is told once, more of it is told later, and so is the end of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlparse

import pytest
from django.db.models import F
from django.urls import resolve
from django.utils import timezone

from signal_tasks import AsyncSignal, health
from signal_tasks.models import Delivery, Gate, OpenAlert, Operation, Worker
from signal_tasks.testing import run_pending
from tests.signal_tasks.alerting import steps
from tests.signal_tasks.alerting.conftest import ChooseAlerts
from tests.signal_tasks.alerting.steps import (
    ago,
    die,
    heard,
    mend,
    pass_time,
    tell,
    told,
)
from tests.signal_tasks.conftest import finish, listen

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]

DEAD, OVER = ("dead_letters", False), ("dead_letters", True)


def test_nobody_is_told_that_nothing_is_wrong() -> None:
    tell()
    assert heard == []


def test_a_dead_letter_is_told_in_the_words_of_status(signal: AsyncSignal) -> None:
    die(signal)
    tell()
    (alert,) = heard
    assert [alert.text] == health()["problems"]
    assert alert.url == "https://shop.example.com/signals/dead/"


def test_what_goes_on_is_told_once(signal: AsyncSignal) -> None:
    die(signal)
    for _ in range(3):
        tell()
        pass_time()
    assert told() == [DEAD]


def test_a_second_dead_letter_is_told_after_the_cooldown(signal: AsyncSignal) -> None:
    die(signal)
    tell()
    die(signal)
    pass_time(60)
    tell()
    assert told() == [DEAD]
    pass_time(600)
    tell()
    assert told() == [DEAD]


def test_a_dead_letter_in_place_of_one_that_was_replayed_is_told(
    signal: AsyncSignal,
) -> None:
    die(signal)
    tell()
    mend()
    die(signal)
    pass_time()
    tell()
    assert told() == [DEAD, DEAD]


def test_the_end_is_told_after_the_cooldown_and_once(signal: AsyncSignal) -> None:
    die(signal)
    tell()
    sentence = heard[0].text
    mend()
    pass_time(60)
    tell()
    assert told() == [DEAD]
    for _ in range(2):
        pass_time()
        tell()
    assert [alert.text for alert in heard] == [sentence]
    assert told() == [OVER]


def test_what_comes_again_after_its_end_is_told_again(signal: AsyncSignal) -> None:
    for _ in range(2):
        die(signal)
        tell()
        mend()
        pass_time()
        tell()
        pass_time()
    assert told() == [DEAD, OVER, DEAD, OVER]


def test_what_comes_again_within_the_cooldown_is_told_after_it() -> None:
    _fail_and_mend()
    told()
    breaker_open()
    came = timezone.now()
    for _ in range(2):
        pass_time(299)
        tell()
    assert told() == []
    pass_time(20)
    tell()
    (alert,) = heard
    assert (alert.kind, alert.is_over) == ("breaker_open", False)
    assert alert.since > came - timedelta(seconds=1)


def test_what_comes_and_goes_is_told_once_in_a_cooldown() -> None:
    _fail_and_mend()
    assert told() == [("breaker_open", False), ("breaker_open", True)]
    for _ in range(4):
        breaker_open()
        pass_time(60)
        tell()
        Gate.objects.all().delete()
        pass_time(60)
        tell()
    assert told() == []


def test_what_comes_again_has_to_last_before_it_is_told(choose: ChooseAlerts) -> None:
    _fail_and_mend()
    told()
    choose(CALL=[steps.HEAR], AFTER=60)
    pass_time(590)
    breaker_open()
    tell()
    pass_time(20)
    tell()
    assert told() == []
    pass_time(60)
    tell()
    assert told() == [("breaker_open", False)]


def test_nothing_is_kept_of_what_is_over_for_a_cooldown() -> None:
    _fail_and_mend()
    assert OpenAlert.objects.exclude(key=OpenAlert.TURN).count() == 1
    pass_time()
    tell()
    assert OpenAlert.objects.exclude(key=OpenAlert.TURN).count() == 0


def _fail_and_mend() -> None:
    breaker_open()
    tell()
    Gate.objects.all().delete()
    pass_time()
    tell()


def test_what_is_over_before_its_time_is_never_told(
    signal: AsyncSignal, choose: ChooseAlerts
) -> None:
    choose(CALL=[steps.HEAR], AFTER=60)
    die(signal)
    tell()
    mend()
    pass_time()
    tell()
    assert told() == []
    assert OpenAlert.objects.exclude(key=OpenAlert.TURN).count() == 0


def test_what_lasts_is_told_when_it_has_lasted(
    signal: AsyncSignal, choose: ChooseAlerts
) -> None:
    choose(CALL=[steps.HEAR], AFTER=60)
    die(signal)
    tell()
    assert told() == []
    pass_time(60)
    tell()
    assert told() == [DEAD]


def test_each_problem_has_a_cooldown_of_its_own(signal: AsyncSignal) -> None:
    die(signal)
    tell()
    breaker_open()
    pass_time(20)
    tell()
    assert told() == [DEAD, ("breaker_open", False)]


def _wait(signal: AsyncSignal, **changes: Any) -> None:
    listen(signal, name="t.slow")
    signal.send(sender=None)
    earlier = F("available_at") - timedelta(hours=1)
    Delivery.objects.update(available_at=earlier, **changes)


def no_relay(signal: AsyncSignal) -> None:
    Worker.objects.all().delete()


def no_consumer(signal: AsyncSignal) -> None:
    Worker.objects.update(queues="elsewhere")
    listen(signal, name="t.quick")
    signal.send(sender=None)
    Delivery.objects.update(available_at=F("available_at") - timedelta(minutes=1))


def broker_away(signal: AsyncSignal) -> None:
    Worker.objects.create(name="b", queues="tests", broker_error="refused")
    Worker.objects.create(name="c", queues="tests", broker_error="timed out")


def breaker_open(signal: AsyncSignal | None = None) -> None:
    Gate.objects.create(receiver="t.mail", breaker="open", failures=5)


def stuck_operation(signal: AsyncSignal) -> None:
    Operation.objects.create(kind="replay", next_step_at=ago(60))


def oldest_wait(signal: AsyncSignal) -> None:
    _wait(signal)


def unknown_receiver(signal: AsyncSignal) -> None:
    listen(signal, name="t.gone")
    signal.send(sender=None)
    earlier = F("available_at") - timedelta(minutes=1)
    Delivery.objects.update(orphaned=True, available_at=earlier)


def unpublishable(signal: AsyncSignal) -> None:
    listen(signal, name="t.parked")
    signal.send(sender=None)
    Delivery.objects.update(parked="no such queue")


def blocked_key(signal: AsyncSignal) -> None:
    signal.connect(steps.refuse, name="t.ordered", ordered=True)
    for _ in range(2):
        signal.using(key="order\n5").send(sender=None)
    run_pending()


@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        ("no_worker", no_relay),
        ("no_worker", no_consumer),
        ("broker_away", broker_away),
        ("breaker_open", breaker_open),
        ("stuck_operation", stuck_operation),
        ("oldest_wait", oldest_wait),
        ("unknown_receiver", unknown_receiver),
        ("unpublishable", unpublishable),
        ("blocked_key", blocked_key),
    ],
)
def test_each_kind_is_told_with_a_page_that_is_there(
    kind: str, break_it: Callable[[AsyncSignal], None], signal: AsyncSignal
) -> None:
    break_it(signal)
    tell()
    (alert,) = [alert for alert in heard if alert.kind == kind]
    resolve(urlparse(alert.url).path)
    assert "\n".join(a.text for a in heard) == "\n".join(health()["problems"])


def test_another_late_receiver_is_told_after_one_has_caught_up(
    signal: AsyncSignal,
) -> None:
    for name in ("t.a", "t.b", "t.c"):
        listen(signal, name=name)
    signal.send(sender=None)
    rows = Delivery.objects.all()
    rows.exclude(receiver="t.c").update(available_at=ago(60))
    tell()
    finish(rows.filter(receiver="t.b"), "succeeded")
    pass_time()
    tell()
    late = [(alert.subject, alert.is_over) for alert in heard]
    assert late == [("t.a", False), ("t.b", False), ("t.b", True)]
    heard.clear()
    rows.filter(receiver="t.c").update(available_at=ago(60))
    pass_time(20)
    tell()
    assert [(alert.kind, alert.subject) for alert in heard] == [("oldest_wait", "t.c")]


def test_another_failure_of_the_broker_is_told_after_one_is_over(
    signal: AsyncSignal,
) -> None:
    broker_away(signal)
    tell()
    Worker.objects.filter(name="c").update(broker_error="")
    pass_time(20)
    tell()
    assert told() == [("broker_away", False)]
    Worker.objects.filter(name="c").update(broker_error="no route to host")
    pass_time()
    tell()
    assert "no route to host" in heard[0].text


def test_a_key_that_is_still_blocked_is_not_told_as_over(signal: AsyncSignal) -> None:
    signal.connect(steps.refuse, name="t.ordered", ordered=True)
    for key in ("b", "c", "d", "e", "f", "g"):
        for _ in range(2):
            signal.using(key=key).send(sender=None)
    run_pending()
    tell()
    for _ in range(2):
        signal.using(key="a").send(sender=None)
    run_pending()
    pass_time()
    tell()
    seen = [(a.kind, a.subject, a.is_over) for a in heard if a.kind == "blocked_key"]
    assert seen == [("blocked_key", "t.ordered", False)] * 2


def test_a_second_receiver_that_waits_is_news(signal: AsyncSignal) -> None:
    _wait(signal)
    tell()
    other = AsyncSignal(name=f"{signal.name}.other")
    listen(other, name="t.other")
    other.send(sender=None)
    pass_time()
    tell()
    Delivery.objects.update(available_at=F("available_at") - timedelta(hours=1))
    pass_time()
    tell()
    assert told() == [("oldest_wait", False)] * 2
