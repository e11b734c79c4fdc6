"""The Celery tasks of receivers: of the app's own class, and quiet about rows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import celery
import pytest
from celery import Celery, current_app
from django.db import transaction

from signal_tasks import AsyncSignal, Reject, RetryPolicy
from signal_tasks.checks.celery import task_class_leaves_receivers_alone
from signal_tasks.delivery.tasks import owns_task
from signal_tasks.models import Delivery
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import connect, ids_of, raises, send
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db


class Carrying(celery.Task):  # type: ignore[misc]
    """A project's task class that adds something."""

    tenant = "one"
    finished: list[str] = []

    def of_the_project(self) -> str:
        return self.tenant

    def on_success(self, *args: Any, **kwargs: Any) -> None:
        self.finished.append(self.name)


class Meddling(celery.Task):  # type: ignore[misc]
    """A project's task class that changes how and when tasks are run."""

    acks_late = False
    reject_on_worker_lost = True
    autoretry_for = (Exception,)
    max_retries = 3
    expires = 1
    ignore_result = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("on its way in")

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("on its way out")


class Meta(type):
    """A metaclass of a project's own."""


class Strange(celery.Task, metaclass=Meta):  # type: ignore[misc]
    """A project's task class that no other class can be combined with."""


@pytest.fixture
def app_of() -> Iterator[Any]:
    """Make a Celery app with a task class of the project's own the current one."""
    former = current_app._get_current_object()
    made = []

    def make(task_class: type) -> Celery:
        app = Celery(f"app_{uuid.uuid4().hex}", task_cls=task_class, broker="memory://")
        app.conf.task_always_eager = True
        app.set_current()
        made.append(app)
        return app

    yield make
    former.set_current()
    for app in made:
        app.close()


def task_of(app: Celery, signal: AsyncSignal) -> Any:
    name = f"t.task_{uuid.uuid4().hex}"
    listen(signal, name=name)
    app.finalize()
    return app.tasks[name]


def test_a_receivers_task_is_of_the_apps_task_class(
    app_of: Any, signal: AsyncSignal
) -> None:
    task = task_of(app_of(Carrying), signal)
    assert isinstance(task, Carrying)
    assert task.of_the_project() == "one"
    assert owns_task(task.name)
    assert task.acks_late
    assert list(task_class_leaves_receivers_alone()) == []
    handle = send(signal)
    task.apply(([str(handle.id)], "default"))
    assert handle.refresh().state == "succeeded"
    assert Carrying.finished == [task.name]


def test_each_app_has_tasks_of_its_own_class(app_of: Any, signal: AsyncSignal) -> None:
    first, second = app_of(Carrying), app_of(celery.Task)
    name = task_of(first, signal).name
    second.finalize()
    assert isinstance(first.tasks[name], Carrying)
    assert not isinstance(second.tasks[name], Carrying)


def test_what_decides_when_a_task_runs_is_not_taken_over(
    app_of: Any, signal: AsyncSignal
) -> None:
    task = task_of(app_of(Meddling), signal)
    assert issubclass(type(task), Meddling)
    assert (task.acks_late, task.reject_on_worker_lost) == (True, False)
    never: tuple[Any, ...] = (None, None, True)
    assert (task.max_retries, task.expires, task.ignore_result) == never
    handle = send(signal)
    task.apply_async(([str(handle.id)], "default"))
    assert handle.refresh().state == "succeeded"


@pytest.mark.parametrize(
    ("task_class", "told"),
    [
        (Meddling, ["__call__", "acks_late", "apply_async", "autoretry_for"]),
        (Strange, ["its metaclass"]),
    ],
)
def test_a_check_tells_what_is_not_taken_over(
    task_class: type, told: list[str], app_of: Any, signal: AsyncSignal
) -> None:
    task = task_of(app_of(task_class), signal)
    assert owns_task(task.name)
    (message,) = task_class_leaves_receivers_alone()
    assert message.id == "signal_tasks.W011"
    assert all(attribute in message.msg for attribute in told)


# -- what Celery is told ----------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("on purpose"), Reject("on purpose")])
@pytest.mark.django_db(transaction=True)
def test_an_eager_sender_gets_the_receivers_own_error(
    error: Exception, signal: AsyncSignal, settings: Any
) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True
    settings.CELERY_TASK_EAGER_PROPAGATES = True
    connect(signal, raises(error), retry=RetryPolicy(backoff=60))
    with pytest.raises(type(error), match="on purpose"), transaction.atomic():
        signal.send(sender=None)
    assert Delivery.objects.get().attempts == 1


def test_a_row_that_is_gone_is_no_failure_of_the_task(signal: AsyncSignal) -> None:
    listen(signal, name="t.about_things")
    things = [Thing.objects.create(name=name) for name in ("one", "two")]
    signal.send_many(sender=None, items=[{"thing": thing} for thing in things])
    things[0].delete()
    task = current_app.tasks["t.about_things"]
    done = task.apply((ids_of(signal, "t.about_things"), "default"))
    assert done.state == "SUCCESS"
    assert "1 succeeded" in done.result


def fail_with(error: Exception | None) -> None:
    if error is not None:
        raise error


def connect_failing(signal: AsyncSignal, *errors: Exception | None) -> Any:
    """Send once for each error that the receiver is to raise; return its task."""
    name = f"t.failing_{uuid.uuid4().hex}"

    def failing(sender: object, number: int, **kwargs: Any) -> None:
        fail_with(errors[number])

    connect(signal, failing, name=name, retry=RetryPolicy(max_attempts=1))
    signal.send_many(sender=None, items=[{"number": n} for n in range(len(errors))])
    current_app.tasks[name].apply((ids_of(signal, name), "default"))
    return current_app.tasks[name]


def logged_by_celery(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, bool]]:
    """Return the level, the text and whether there is a traceback, of each record."""
    return [
        (record.levelname, record.getMessage(), bool(record.exc_info))
        for record in caplog.records
        if record.name == "celery.app.trace"
    ]


def test_a_delivery_that_was_rejected_is_a_line_of_celery_without_a_traceback(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    connect_failing(signal, None, Reject("no such shop"))
    ((level, text, has_traceback),) = logged_by_celery(caplog)
    assert level == "INFO"
    assert "raised expected: Reject('no such shop')" in text
    assert not has_traceback
    assert "Traceback" not in text


def test_a_rejection_that_says_a_lot_is_one_too(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    connect_failing(signal, Reject("a lot " * 1000))
    ((_, text, has_traceback),) = logged_by_celery(caplog)
    assert "raised expected: Reject" in text
    assert not has_traceback


def test_what_was_not_rejected_is_shown_before_what_was(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    connect_failing(signal, Reject("no such shop"), ValueError("a surprise"))
    ((level, text, has_traceback),) = logged_by_celery(caplog)
    assert (level, has_traceback) == ("ERROR", True)
    assert "raised unexpected: ValueError('a surprise')" in text


class Expecting(celery.Task):  # type: ignore[misc]
    """A project's task class that expects an error of its own."""

    throws = (LookupError,)


def test_what_the_apps_task_class_expects_is_expected_of_receivers_too(
    app_of: Any, signal: AsyncSignal
) -> None:
    task = task_of(app_of(Expecting), signal)
    assert task.throws == (Reject, LookupError)
    assert list(task_class_leaves_receivers_alone()) == []
