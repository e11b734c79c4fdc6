"""Health tells the truth: what is wrong, what was decided, and what mends it."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections
from django.db.models import F
from django.utils import timezone

from signal_tasks import AsyncSignal, Reject, RetryPolicy, counting, health
from signal_tasks import Breaker as BreakerOptions
from signal_tasks.healthcheck.problems import problems
from signal_tasks.models import (
    AuditEntry,
    Control,
    Delivery,
    Gate,
    HeldDelivery,
    Operation,
    Worker,
)
from signal_tasks.states import Breaker, OperationState
from signal_tasks.telemetry import gauges
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def worker() -> Worker:
    """A live worker, so that nothing is wrong by itself."""
    return Worker.objects.create(name="celery@here", queues="tests")


def refuse(sender: object, **kwargs: object) -> None:
    raise Reject("on purpose")


def die(signal: AsyncSignal, name: str = "t.refuse") -> None:
    """Leave a dead letter."""
    signal.connect(refuse, name=name)
    signal.send(sender=None)
    run_pending()


def only_problem() -> str:
    (problem,) = health()["problems"]
    return str(problem)


def test_nothing_is_wrong_by_itself() -> None:
    told = health()
    assert (told["healthy"], told["problems"]) == (True, [])


def test_a_dead_letter_is_a_problem_until_somebody_has_looked(
    signal: AsyncSignal,
) -> None:
    die(signal)
    assert health()["healthy"] is False
    assert "1 delivery died and nobody has looked" in only_problem()
    assert "signal_tasks dead --group" in only_problem()
    AuditEntry.objects.create(verb="acknowledge", target="*")
    assert health()["healthy"] is True


def test_a_dead_letter_after_the_last_look_is_a_problem(signal: AsyncSignal) -> None:
    before = timezone.now() - HOUR
    AuditEntry.objects.create(verb="acknowledge", target="*", at=before)
    die(signal)
    assert "1 delivery died since" in only_problem()


def test_dead_letters_up_to_the_setting_are_no_problem(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "MAX_NEW_DEAD": 1}
    die(signal)
    assert health()["healthy"] is True
    signal.send(sender=None)
    run_pending()
    assert "2 deliveries died" in only_problem()


def test_a_broker_that_failed_is_a_problem_with_the_name_of_who_said_so(
    worker: Worker,
) -> None:
    Worker.objects.filter(pk=worker.pk).update(broker_error="connection refused")
    assert health()["healthy"] is False
    assert "not reached by celery@here" in only_problem()
    assert "connection refused" in only_problem()


def test_without_a_live_worker_the_last_report_of_the_broker_is_told(
    worker: Worker,
) -> None:
    rows = Worker.objects.filter(pk=worker.pk)
    rows.update(broker_error="connection refused", seen_at=F("seen_at") - MINUTE)
    told = health()
    assert told["broker_errors"] == ["connection refused"]
    (sentence,) = [each for each in told["problems"] if "broker" in each]
    assert "not reached by celery@here before its last report" in sentence
    rows.update(seen_at=F("seen_at") - HOUR)
    assert health()["broker_errors"] == []


def test_a_live_worker_knows_better_of_the_broker_than_a_dead_one() -> None:
    ago = timezone.now() - MINUTE
    Worker.objects.create(name="celery@gone", broker_error="refused", seen_at=ago)
    assert health()["broker_errors"] == []
    assert health()["problems"] == []


@pytest.mark.parametrize("target", ["*", "receiver:t.paused", "signal:{signal}"])
def test_the_age_of_what_is_paused_is_no_problem_but_the_pause_is_told(
    signal: AsyncSignal, target: str
) -> None:
    listen(signal, name="t.paused")
    signal.send(sender=None)
    Delivery.objects.update(available_at=F("available_at") - HOUR)
    assert health()["healthy"] is False
    target = target.format(signal=signal.name)
    Control.objects.create(kind="pause", target=target, by="ann", reason="mail is down")
    told = health()
    assert told["healthy"] is True
    assert f"{target} is paused, by ann, because: mail is down" in only_problem()
    assert f"signal_tasks resume {target!r}" in only_problem()


def test_a_pause_that_has_expired_hides_nothing(signal: AsyncSignal) -> None:
    listen(signal, name="t.paused")
    signal.send(sender=None)
    Delivery.objects.update(available_at=F("available_at") - HOUR)
    over = timezone.now() - HOUR
    Control.objects.create(kind="pause", target="receiver:t.paused", until=over)
    told = health()
    assert told["healthy"] is False
    assert any("has waited for" in problem for problem in told["problems"])


def test_a_limit_that_has_expired_is_told(signal: AsyncSignal) -> None:
    over = timezone.now() - HOUR
    Control.objects.create(kind="limit", target="queue:email", rate="1/s", until=over)
    assert health()["healthy"] is True
    assert "the limit of queue:email expired" in only_problem()
    assert "signal_tasks clear 'queue:email'" in only_problem()


@pytest.mark.parametrize("state", [Breaker.OPEN, Breaker.HALF_OPEN])
def test_a_breaker_that_is_not_closed_is_a_problem(state: Breaker) -> None:
    Gate.objects.create(receiver="t.mail", breaker=state, failures=5)
    assert health()["healthy"] is False
    assert f"the breaker of t.mail is {state.label.lower()}" in only_problem()
    assert "after 5 failures; it closes" in only_problem()
    Gate.objects.update(failures=1)
    assert "after 1 failure; it closes" in only_problem()
    Gate.objects.update(breaker=Breaker.CLOSED)
    assert health()["healthy"] is True


def test_an_open_breaker_names_a_command_that_shows_why(signal: AsyncSignal) -> None:
    def fail(sender: object, **kwargs: object) -> None:
        raise ValueError("the server is down")

    once = BreakerOptions(failures=1, window=60, pause=30)
    signal.connect(fail, name="t.broken", breaker=once)
    signal.send(sender=None)
    run_pending()
    words = only_problem().partition("See why: manage.py signal_tasks ")[2]
    printed = StringIO()
    call_command("signal_tasks", *words.split(), stdout=printed)
    assert "the server is down" in printed.getvalue()


def late(signal: AsyncSignal, *names: str) -> None:
    """Leave a delivery of each of these receivers that has been due for an hour."""
    for name in names:
        listen(signal, name=name)
    signal.send(sender=None)
    Delivery.objects.update(available_at=F("available_at") - HOUR)


def test_each_receiver_that_is_late_is_a_problem_of_its_own(
    signal: AsyncSignal,
) -> None:
    late(signal, "t.first", "t.second")
    Delivery.objects.filter(receiver="t.second").update(
        available_at=F("available_at") - HOUR
    )
    first, second = health()["problems"]
    assert "the oldest due delivery of t.second has waited for 2 hours" in first
    assert "the oldest due delivery of t.first has waited for 60 minutes" in second


def test_many_problems_of_one_kind_are_told_in_few_sentences(
    signal: AsyncSignal,
) -> None:
    late(signal, *(f"t.late{n:03}" for n in range(200)))
    *told, last = health()["problems"]
    assert len(told) == 5
    assert last.startswith("195 more problems of this kind (oldest_wait): t.late005, ")
    assert last.endswith(" and 190 more")


def test_orphans_that_wait_for_long_are_a_problem(signal: AsyncSignal) -> None:
    listen(signal, name="t.gone")
    signal.send(sender=None)
    Delivery.objects.update(orphaned=True)
    assert health()["healthy"] is True  # maybe a deploy is under way
    Delivery.objects.update(available_at=F("available_at") - timedelta(minutes=1))
    assert "no worker knows the receiver t.gone" in only_problem()
    assert "signal_tasks discard --receiver t.gone" in only_problem()


def test_a_dead_letter_that_others_wait_behind_is_a_problem(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "MAX_NEW_DEAD": 9}
    signal.connect(refuse, name="t.ordered", ordered=True)
    for _ in range(3):
        signal.using(key="order 5").send(sender=None)
    run_pending()
    assert health()["healthy"] is False
    assert "2 deliveries of t.ordered for the key 'order 5' wait" in only_problem()
    dead = Delivery.objects.get(state="dead")
    assert f"skip {dead.pk}" in only_problem()


def test_a_problem_quotes_the_beginning_of_a_long_key_and_error(
    signal: AsyncSignal,
) -> None:
    def refuse(sender: object, **kwargs: object) -> None:
        raise Reject("why " * 500)

    signal.connect(refuse, name="t.ordered", ordered=True)
    for _ in range(2):
        signal.using(key="k" * 200).send(sender=None)
    run_pending()
    (told,) = [each for each in health()["problems"] if "behind a dead" in each]
    assert f"'{'k' * 59}\u2026' waits behind a dead letter: Reject: why why" in told
    assert len(told) < 600


def test_what_waits_for_its_turn_is_not_late(signal: AsyncSignal) -> None:
    def fail(sender: object, **kwargs: object) -> None:
        raise ValueError("to be tried again in an hour")

    later = RetryPolicy(backoff=3600, jitter=False)
    signal.connect(fail, name="t.in_order", ordered=True, retry=later)
    ((_, first),) = signal.using(key="a").send(sender=None)
    signal.using(key="a").send(sender=None)
    run_pending()
    Delivery.objects.exclude(pk=first.id).update(available_at=timezone.now() - HOUR)
    told = health()
    assert (told["problems"], told["oldest_pending_age_s"]) == ([], None)
    Delivery.objects.update(available_at=F("available_at") - 2 * HOUR)
    assert "the oldest due delivery of t.in_order has waited" in only_problem()
    assert gauges.read("default").of("t.in_order").oldest_wait >= 3600


def test_what_is_held_is_not_late(signal: AsyncSignal) -> None:
    late(signal, "t.held")
    assert "the oldest due delivery of t.held" in only_problem()
    held = Delivery.objects.get()
    HeldDelivery.objects.create(delivery_id=held.pk, receiver="t.held", why="limited")
    assert health()["problems"] == []


def test_what_waits_for_its_turn_is_not_late_beside_a_paused_signal(
    signal: AsyncSignal,
) -> None:
    signal.connect(refuse, name="t.ordered", ordered=True)
    for _ in range(2):
        signal.using(key="a").send(sender=None)
    first, second = Delivery.objects.order_by("pk")
    Delivery.objects.filter(pk=second.pk).update(available_at=timezone.now() - HOUR)
    Control.objects.create(kind="pause", target="signal:t.another")
    assert health()["healthy"]
    Delivery.objects.filter(pk=first.pk).update(available_at=timezone.now() - HOUR)
    assert not health()["healthy"]


@pytest.fixture
def acknowledged(settings: Any) -> None:
    """Dead letters by themselves are no problem."""
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "MAX_NEW_DEAD": 99}


def block(signal: AsyncSignal, *keys: str, waiting: int = 1) -> None:
    """Leave a dead letter of each key, and others behind it."""
    signal.connect(refuse, name="t.ordered", ordered=True)
    for key in keys:
        for _ in range(1 + waiting):
            signal.using(key=key).send(sender=None)
    run_pending()


@pytest.mark.usefixtures("acknowledged")
def test_a_blocked_key_is_told_beside_dead_letters_that_nothing_waits_behind(
    signal: AsyncSignal,
) -> None:
    block(signal, "a", "b", "c", "d", "e", "f", waiting=0)
    assert health()["problems"] == []
    block(signal, "g")
    assert "1 delivery of t.ordered for the key 'g' wait" in only_problem()


@pytest.mark.usefixtures("acknowledged")
def test_many_blocked_keys_of_a_receiver_are_one_problem_of_few_names(
    signal: AsyncSignal, worker: Worker
) -> None:
    block(signal, *"abcdefg")
    told = only_problem()
    assert "7 keys: 'a', 'b', 'c', 'd', 'e' and 2 more" in told
    assert "signal_tasks blocked --receiver t.ordered" in told
    (problem,) = problems("default", [worker], counting.loads("default"))
    assert (problem.subject, problem.number) == ("t.ordered", 7)
    last = Delivery.objects.dead().order_by("finished_at").last()
    assert last is not None
    assert problem.latest == last.finished_at


@pytest.mark.usefixtures("acknowledged")
def test_each_receiver_with_blocked_keys_is_a_problem_of_its_own(
    signal: AsyncSignal,
) -> None:
    block(signal, "a", "b")
    second = AsyncSignal(name=f"{signal.name}.second")

    def refuse_too(sender: object, **kwargs: object) -> None:
        raise Reject("on purpose")

    second.connect(refuse_too, name="t.ordered_too", ordered=True)
    for _ in range(2):
        second.using(key="a").send(sender=None)
    run_pending()
    first, other = health()["problems"]
    assert "of t.ordered wait behind a dead letter in 2 keys" in first
    assert "of t.ordered_too for the key 'a' wait" in other


@pytest.mark.usefixtures("acknowledged")
@pytest.mark.django_db(databases=["default", "other"])
def test_the_blocked_keys_of_one_outbox_hide_none_of_another(
    signal: AsyncSignal, settings: Any
) -> None:
    aliases = ["default", "other"]
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "DATABASES": aliases}
    Worker.objects.using("other").create(name="celery@here", queues="tests")
    signal.connect(refuse, name="t.ordered", ordered=True)
    for key, database in zip("abcdefg", ["default"] * 6 + ["other"], strict=True):
        for _ in range(2):
            signal.using(key=key, database=database).send(sender=None)
    run_pending()
    of_one, of_another = health()["problems"]
    assert "t.ordered wait behind a dead letter in 6 keys" in of_one
    assert "of t.ordered for the key 'g' waits behind a dead letter" in of_another


def test_an_operation_that_does_not_move_is_a_problem() -> None:
    ago = timezone.now() - HOUR
    operation = Operation.objects.create(kind="replay", next_step_at=ago)
    assert health()["healthy"] is False
    assert f"operations {operation.pk} --cancel" in only_problem()


def test_an_operation_that_is_to_go_on_later_is_no_problem() -> None:
    soon = timezone.now() + HOUR
    Operation.objects.create(kind="replay", next_step_at=soon)
    assert health()["problems"] == []


def test_a_stopped_operation_is_told_with_its_note() -> None:
    operation = Operation.objects.create(
        kind="replay",
        state=OperationState.STOPPED,
        note="step 2 failed",
        finished_at=timezone.now(),
    )
    assert health()["healthy"] is True
    assert "has stopped: step 2 failed" in only_problem()
    assert f"operations {operation.pk} --resume" in only_problem()


# -- how much is read ---------------------------------------------------------------


def test_more_than_is_counted_is_said_and_dead_letters_are_told_besides(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(signal)
    listen(signal, name="t.fine")
    Delivery.objects.update(finished_at=F("finished_at") - HOUR)
    for _ in range(3):
        signal.send(sender=None)
    Delivery.objects.filter(receiver="t.refuse", state="pending").delete()
    run_pending()
    assert (health()["complete"], health()["succeeded"]) == (True, 3)
    monkeypatch.setattr(counting, "MAX_COUNTED", 2)
    told = health()
    assert (told["complete"], told["succeeded"], told["dead"]) == (False, 2, 1)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it ends no statement")
def test_a_database_that_takes_too_long_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = {
        "postgresql": "SELECT 1 FROM pg_sleep(5) WHERE {limit} > 0",
        "mysql": "SELECT COUNT(*) FROM information_schema.tables "
        "WHERE SLEEP(1) = 0 AND {limit} > 0",
    }
    monkeypatch.setattr(counting, "FACTS", slow[connection.vendor])
    monkeypatch.setattr("signal_tasks.healthcheck.MAX_SECONDS", 0.2)
    told = health()
    assert (told["healthy"], told["complete"]) == (False, False)
    assert "took longer than 0.2 s" in told["problems"][0]


def is_down(*args: Any) -> Any:
    raise OperationalError("the server\nis down")


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_an_outbox_that_is_down_is_a_problem_and_the_others_are_told(
    signal: AsyncSignal, settings: Any
) -> None:
    both = ["default", "other"]
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "DATABASES": both}
    signal.connect(refuse, name="t.ordered", ordered=True)
    signal.using(key="a").send(sender=None)
    with connections["other"].execute_wrapper(is_down):
        told = health()
    assert (told["healthy"], told["complete"]) == (False, False)
    assert told["pending"] == 1
    (sentence,) = told["problems"]
    assert sentence.startswith("the outbox 'other' could not be read: ")
    assert "OperationalError: the server\\nis down" in sentence
