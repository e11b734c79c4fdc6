"""What receivers leave to ``transaction.on_commit`` runs after the commit, each for itself."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.db import IntegrityError, OperationalError, transaction

from signal_tasks import AsyncSignal, signals
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import publisher
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import connect, ids_of
from tests.testapp.models import Thing

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("_no_hurry"),
]

each_error = pytest.mark.parametrize(
    "error",
    [
        ValueError("hook"),
        IntegrityError("hook"),
        OperationalError("hook"),
        SystemExit(),
    ],
)


class Hooks:
    """The calls of a receiver, and those of the hooks that it registers."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.hooks: list[int] = []
        self.error: BaseException = ValueError("hook")
        self.failing = {0}
        self.robust = False

    def receive(self, sender: object, number: int, **kwargs: Any) -> None:
        """Write a row, and leave the rest to a hook."""
        self.calls.append(number)
        Thing.objects.create(name=str(number))
        transaction.on_commit(lambda: self.hook(number), robust=self.robust)

    def hook(self, number: int) -> None:
        """Fail for the numbers that are to fail."""
        self.hooks.append(number)
        if number in self.failing:
            raise self.error


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """Return what the lifecycle signals of workers tell."""
    heard: list[Any] = []

    def listen(sender: object, details: Any, **_: Any) -> None:
        heard.append(details)

    of_workers = (
        signals.attempt_finished,
        signals.delivery_fenced,
        signals.deliveries_released,
        signals.commit_hook_failed,
    )
    for each in of_workers:
        each.connect(listen)
    yield heard
    for each in of_workers:
        each.disconnect(listen)


def deliver(signal: AsyncSignal, hooks: Hooks, count: int, **options: Any) -> Any:
    """Send so many events, and process their deliveries as one message."""
    connect(signal, hooks.receive, name=signal.name, **options)
    signal.send_many(sender=None, items=[{"number": n} for n in range(count)])
    ids = ids_of(signal, signal.name)
    return process_message(signal.name, ids, "default", seconds=math.inf)


def states() -> Counter[str]:
    return Counter(Delivery.objects.values_list("state", flat=True))


@each_error
@pytest.mark.parametrize("options", [{}, {"group_commit": False}, {"timeout": 30}])
def test_a_failing_hook_costs_nobody_a_hook_a_run_or_an_outcome(
    signal: AsyncSignal,
    hooks: Hooks,
    told: list[Any],
    error: BaseException,
    options: dict[str, Any],
) -> None:
    hooks.error = error
    deliver(signal, hooks, 3, **options)
    assert (hooks.calls, hooks.hooks) == ([0, 1, 2], [0, 1, 2])
    assert states() == {"succeeded": 3}
    assert Thing.objects.count() == 3
    kinds = Counter(type(details).__name__ for details in told)
    assert kinds == {"AttemptFinished": 3, "CommitHookFailed": 1}


@each_error
def test_the_error_of_a_hook_is_told_with_its_receiver(
    signal: AsyncSignal, hooks: Hooks, told: list[Any], error: BaseException
) -> None:
    hooks.error = error
    result = deliver(signal, hooks, 1)
    assert result.hook_errors == [error]
    assert str(result) == "1 succeeded, 1 hooks failed"
    (failed,) = (each for each in told if isinstance(each, signals.CommitHookFailed))
    assert failed == signals.CommitHookFailed(
        receiver=signal.name, database="default", error=error
    )


def test_each_error_of_several_hooks_is_logged(
    signal: AsyncSignal, hooks: Hooks, caplog: pytest.LogCaptureFixture
) -> None:
    hooks.failing = {0, 2}
    with caplog.at_level(logging.ERROR, "signal_tasks"):
        deliver(signal, hooks, 3)
    failed = [each for each in caplog.messages if each.startswith("commit_hook_failed")]
    assert len(failed) == 2
    assert f"receiver={signal.name}" in failed[0]
    assert "ValueError: hook" in failed[0]


def test_a_robust_hook_fails_as_django_says_and_is_no_failure_of_ours(
    signal: AsyncSignal, hooks: Hooks, told: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    hooks.robust = True
    deliver(signal, hooks, 2)
    assert hooks.hooks == [0, 1]
    assert not any(isinstance(each, signals.CommitHookFailed) for each in told)
    assert [record.name for record in caplog.records] == ["django.db.backends.base"]


def test_the_hooks_of_a_transaction_that_is_undone_are_not_run(
    signal: AsyncSignal, hooks: Hooks
) -> None:
    hooks.failing = set()

    def fail(sender: object, number: int, **kwargs: Any) -> None:
        hooks.receive(sender, number)
        if number == 1:
            raise ValueError(number)

    connect(signal, fail, name=signal.name)
    signal.send_many(sender=None, items=[{"number": n} for n in range(3)])
    process_message(signal.name, ids_of(signal, signal.name), "default")
    assert sorted(hooks.hooks) == [0, 2]


def test_what_others_send_is_published_although_a_hook_fails(
    signal: AsyncSignal, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[PublishRequest] = []
    monkeypatch.setattr(publisher, "submit", submitted.append)
    then = AsyncSignal(name=f"{signal.name}.then")
    connect(then, lambda sender, **kwargs: None, name=then.name)

    def send(sender: object, number: int, **kwargs: Any) -> None:
        hooks.receive(sender, number)
        then.send(sender=None)

    connect(signal, send, name=signal.name)
    signal.send_many(sender=None, items=[{"number": n} for n in range(2)])
    process_message(signal.name, ids_of(signal, signal.name), "default")
    published = [
        pk for each in submitted if each.receiver == then.name for pk in each.ids
    ]
    assert sorted(published) == sorted(ids_of(then, then.name))


def test_a_hook_finds_its_transaction_committed_and_none_open(
    signal: AsyncSignal,
) -> None:
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        in_block = transaction.get_connection().in_atomic_block
        seen.append((in_block, Delivery.objects.filter(state="succeeded").count()))

    def receive(sender: object, **kwargs: Any) -> None:
        transaction.on_commit(look)

    connect(signal, receive, name=signal.name)
    signal.send_many(sender=None, items=[{}, {}])
    process_message(signal.name, ids_of(signal, signal.name), "default")
    assert seen == [(False, 2), (False, 2)]


@pytest.mark.parametrize(
    ("error", "shown"),
    [(ValueError("hook"), ValueError), (SystemExit("hook"), RuntimeError)],
)
def test_a_failing_hook_is_a_failed_task(
    signal: AsyncSignal,
    hooks: Hooks,
    error: BaseException,
    shown: type[Exception],
) -> None:
    hooks.error = error
    connect(signal, hooks.receive, name=signal.name)
    signal.send(sender=None, number=0)
    task = current_app.tasks[signal.name]
    result = task.apply(args=(ids_of(signal, signal.name), "default"))
    assert result.state == "FAILURE"
    with pytest.raises(shown, match="hook"):
        result.get()
    assert states() == {"succeeded": 1}


def test_run_pending_shows_the_error_of_a_hook(
    signal: AsyncSignal, hooks: Hooks
) -> None:
    connect(signal, hooks.receive, name=signal.name)
    signal.send(sender=None, number=0)
    with pytest.raises(ValueError, match="hook"):
        run_pending()
    assert states() == {"succeeded": 1}
