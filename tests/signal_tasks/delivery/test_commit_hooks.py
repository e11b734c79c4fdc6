"""What receivers leave to ``transaction.on_commit`` runs after the commit, each for itself."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal, signals
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import publisher
from signal_tasks.db.leftovers import AUTOCOMMIT, LEFT_OPEN
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import connect, ids_of
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)

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


# -- what a hook leaves behind on the connection ----------------------------------

each_way = pytest.mark.parametrize("options", [{}, {"group_commit": False}])
with_settings = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has no settings that matter to others"
)


def execute(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def no_autocommit() -> None:
    transaction.set_autocommit(False)
    Thing.objects.create(name="never committed")


def enter() -> None:
    transaction.atomic().__enter__()


def begin() -> None:
    execute("BEGIN")


def enter_and_close() -> None:
    enter()
    connection.close()


LEFT = {
    "autocommit off": (no_autocommit, AUTOCOMMIT),
    "an open block": (enter, LEFT_OPEN),
    "an open block without a connection": (enter_and_close, LEFT_OPEN),
    "a transaction that Django does not know": (begin, LEFT_OPEN),
}
each_left = pytest.mark.parametrize("what", LEFT)


def leaves(leave: Callable[[], object]) -> Callable[..., None]:
    """Make a receiver whose hook leaves something, for the first delivery."""

    def receive(sender: object, number: int, **kwargs: Any) -> None:
        Thing.objects.create(name=str(number))
        if number == 0:
            transaction.on_commit(leave)

    return receive


def deliver_to(
    signal: AsyncSignal, receive: Callable[..., None], **options: Any
) -> Any:
    connect(signal, receive, name=signal.name, **options)
    signal.send_many(sender=None, items=[{"number": n} for n in range(3)])
    ids = ids_of(signal, signal.name)
    return process_message(signal.name, ids, "default", seconds=math.inf)


def sentence_of(left: str) -> str:
    return left.replace("the receiver", "the hook")


@each_way
@each_left
def test_what_a_hook_leaves_is_told_and_loses_nothing_that_follows(
    what: str, signal: AsyncSignal, told: list[Any], options: dict[str, Any]
) -> None:
    leave, left = LEFT[what]
    result = deliver_to(signal, leaves(leave), **options)
    assert connection.get_autocommit()
    connection.close()
    assert states() == {"succeeded": 3}
    assert set(Thing.objects.values_list("name", flat=True)) == {"0", "1", "2"}
    (failed,) = (each for each in told if isinstance(each, signals.CommitHookFailed))
    assert failed.receiver == signal.name
    assert str(failed.error) == sentence_of(left)
    assert result.hook_errors == [failed.error]


@each_left
def test_the_error_of_a_hook_is_told_although_it_leaves_a_transaction(
    what: str, signal: AsyncSignal
) -> None:
    leave, _ = LEFT[what]
    error = LookupError("on the way")

    def fail() -> None:
        leave()
        raise error

    result = deliver_to(signal, leaves(fail), group_commit=False)
    connection.close()
    assert result.hook_errors == [error]
    assert states() == {"succeeded": 3}


@each_left
def test_what_the_hook_of_an_inline_receiver_leaves_is_told(
    what: str, signal: AsyncSignal, told: list[Any]
) -> None:
    leave, left = LEFT[what]
    signal.settled.connect(leaves(leave), weak=False, inline=True)
    deliver_to(signal, lambda sender, **kwargs: None)
    assert connection.get_autocommit()
    connection.close()
    assert states() == {"succeeded": 3}
    assert set(Thing.objects.values_list("name", flat=True)) == {"0", "1", "2"}
    (failed,) = (each for each in told if isinstance(each, signals.CommitHookFailed))
    assert failed.receiver == signal.settled.name
    assert str(failed.error) == sentence_of(left)


def look_and_change() -> tuple[str, str]:
    if connection.vendor == "postgresql":
        change = "SET search_path = pg_catalog, public"
        return "SELECT current_setting('search_path')", change
    return "SELECT @@time_zone", "SET time_zone = '+09:00'"


@with_settings
@pytest.mark.parametrize("robust", [False, True])
@each_way
def test_settings_that_a_hook_changes_do_not_reach_what_runs_next(
    signal: AsyncSignal, options: dict[str, Any], robust: bool
) -> None:
    look, change = look_and_change()
    seen = [execute(look)]

    def receive(sender: object, number: int, **kwargs: Any) -> None:
        seen.append(execute(look))
        if number == 0:
            transaction.on_commit(lambda: execute(change), robust=robust)
        transaction.on_commit(lambda: seen.append(execute(look)))

    (error,) = deliver_to(signal, receive, **options).hook_errors
    seen.append(execute(look))
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert str(error).startswith("the hook changed ")


@with_settings
def test_a_hook_may_set_back_what_it_has_changed(signal: AsyncSignal) -> None:
    look, change = look_and_change()
    name = "search_path" if connection.vendor == "postgresql" else "time_zone"
    before = execute(look)

    def hook() -> None:
        execute(change)
        execute(f"SET {name} = {before if name == 'search_path' else repr(before)}")

    assert deliver_to(signal, leaves(hook)).hook_errors == []
    assert execute(look) == before


def test_a_hook_may_have_transactions_of_its_own_and_close_its_connection(
    signal: AsyncSignal,
) -> None:
    def hook() -> None:
        with transaction.atomic():
            Thing.objects.create(name="one")
            transaction.on_commit(lambda: Thing.objects.create(name="after one"))
        transaction.set_autocommit(False)
        Thing.objects.create(name="two")
        transaction.commit()
        transaction.set_autocommit(True)
        connection.close()

    def receive(sender: object, **kwargs: Any) -> None:
        transaction.on_commit(hook)

    result = deliver_to(signal, receive)
    connection.close()
    assert result.hook_errors == []
    assert states() == {"succeeded": 3}
    written = Counter(Thing.objects.values_list("name", flat=True))
    assert written == {"one": 3, "after one": 3, "two": 3}


def test_a_hook_that_leaves_nothing_costs_no_statement(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal_tasks.steering.snapshot.MAX_AGE", 60.0)

    def statements(number: int) -> int:
        name = f"{signal.name}.{number}"
        connect(signal, register(number), name=name)
        signal.send_many(sender=None, items=[{}, {}])
        ids = ids_of(signal, name)
        with CaptureQueriesContext(connection) as captured:
            process_message(name, ids, "default", seconds=math.inf)
        assert states().pop("succeeded") >= 2
        return len(captured)

    statements(0)  # looks at what is paused, once for this minute
    assert statements(5) == statements(0)


def register(number: int) -> Callable[..., None]:
    """Make a receiver that registers so many hooks."""

    def receive(sender: object, **kwargs: Any) -> None:
        for _ in range(number):
            transaction.on_commit(lambda: None)

    return receive
