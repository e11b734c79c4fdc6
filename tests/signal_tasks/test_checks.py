"""System checks: each warns when it should, and only then."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import celery
import pytest
from celery import Celery, current_app
from django.apps import apps
from django.core import checks as django_checks
from django.db import connections

from signal_tasks import AsyncSignal, checks
from signal_tasks.registry.registry import registry
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.outbox.steps import OneAliasRouter


def ids() -> set[str]:
    """Return the ids of our messages, as ``manage.py check`` collects them."""
    messages = django_checks.run_checks(tags=["signal_tasks"])
    assert all(
        message.hint or message.id == "signal_tasks.E001" for message in messages
    )
    return {str(message.id).removeprefix("signal_tasks.") for message in messages}


@pytest.fixture
def celery_conf(settings: Any) -> Callable[..., None]:
    """Change the configuration of the Celery app for this test."""

    def change(**options: Any) -> None:
        for name, value in options.items():
            setattr(settings, f"CELERY_{name.upper()}", value)

    return change


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change what Django knows of the default database for this test."""

    def change(**settings: Any) -> None:
        for name, value in settings.items():
            monkeypatch.setitem(connections["default"].settings_dict, name, value)

    return change


def test_the_set_up_of_the_tests_is_in_order() -> None:
    assert ids() == set()


def test_each_check_is_registered_under_one_id_that_it_tells() -> None:
    told = [(check.__doc__ or "").partition(":")[0] for check in checks.ALL]
    assert len(set(told)) == len(told) == 24


# -- E001: settings ---------------------------------------------------------------


def test_e001_a_misspelt_setting(settings: Any) -> None:
    settings.SIGNAL_TASKS = {"LEESE": 5}
    (message,) = checks.project.settings_are_valid()
    assert message.id == "signal_tasks.E001"
    assert "Did you mean 'LEASE'?" in message.msg
    assert message.is_serious()


def test_e001_a_project_that_sets_nothing_is_fine(settings: Any) -> None:
    settings.SIGNAL_TASKS = {}  # the end of this is announced; that of del is not
    del settings.SIGNAL_TASKS
    assert ids() == set()


def test_e001_something_else_than_a_dict(settings: Any) -> None:
    settings.SIGNAL_TASKS = ["LEASE"]
    assert "E001" in ids()


# -- E002: time zones -------------------------------------------------------------


def test_e002_naive_times(settings: Any) -> None:
    settings.USE_TZ = False
    assert "E002" in ids()


# -- E003: task names -------------------------------------------------------------


@pytest.fixture
def _foreign_task() -> Iterator[None]:
    def task() -> None: ...

    current_app.task(task, name="t.taken_by_a_task")
    yield
    current_app.tasks.pop("t.taken_by_a_task", None)


@pytest.mark.usefixtures("_foreign_task")
@pytest.mark.filterwarnings("ignore:Task name:UserWarning")  # celery 5.7 warns, too
def test_e003_another_task_has_the_name_of_a_receiver(signal: AsyncSignal) -> None:
    listen(signal, name="t.taken_by_a_task")
    assert "E003" in ids()


def test_e003_is_silent_about_receivers_of_ours(signal: AsyncSignal) -> None:
    listen(signal, name="t.fine", aliases=["t.fine_once"])
    assert list(checks.receivers.receivers_own_their_tasks()) == []
    assert list(registry.receivers())


# -- W001: the Celery app ---------------------------------------------------------


def test_w001_no_celery_app(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("default", set_as_current=False)
    monkeypatch.setattr("signal_tasks.broker.config.current_app", app)
    assert [m.id for m in checks.celery.celery_app_is_set()] == ["signal_tasks.W001"]


def test_w001_an_app_of_the_project_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("shop", set_as_current=False)
    monkeypatch.setattr("signal_tasks.broker.config.current_app", app)
    assert list(checks.celery.celery_app_is_set()) == []


# -- W014: no broker is named -----------------------------------------------------


def test_w014_no_broker_is_named(celery_conf: Callable[..., None]) -> None:
    celery_conf(broker_url=None)
    assert ids() == {"W014"}


def test_w014_a_broker_that_the_environment_names_will_do(
    celery_conf: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    celery_conf(broker_url=None)
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://here")
    assert ids() == set()


def test_w014_eager_tasks_need_no_broker(celery_conf: Callable[..., None]) -> None:
    celery_conf(broker_url=None, task_always_eager=True)
    assert ids() == {"W002"}


# -- W002: eager tasks ------------------------------------------------------------


def test_w002_eager_tasks(celery_conf: Callable[..., None]) -> None:
    celery_conf(task_always_eager=True)
    assert ids() == {"W002"}


# -- W003: connections ------------------------------------------------------------


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_w003_connections_that_are_not_kept(
    engine: str, database: Callable[..., None]
) -> None:
    database(ENGINE=f"django.db.backends.{engine}", CONN_MAX_AGE=0, OPTIONS={})
    assert "W003" in ids()


@pytest.mark.parametrize(
    "kept",
    [{"CONN_MAX_AGE": 600}, {"CONN_MAX_AGE": None}, {"OPTIONS": {"pool": True}}],
)
def test_w003_connections_that_are_kept_or_pooled_are_fine(
    kept: dict[str, Any], database: Callable[..., None]
) -> None:
    plain = {"CONN_MAX_AGE": 0, "OPTIONS": {}}
    database(**{"ENGINE": "django.db.backends.postgresql", **plain, **kept})
    assert "W003" not in ids()


# -- W010: kept connections ------------------------------------------------------

KEPT = [
    {"CONN_MAX_AGE": 600},
    {"CONN_MAX_AGE": None},
    {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": True}},
    {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"max_size": 4}}},
]


@pytest.mark.parametrize("kept", KEPT)
def test_w010_kept_connections_that_nobody_checks(
    kept: dict[str, Any], database: Callable[..., None]
) -> None:
    server = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {}}
    database(**{**server, "CONN_HEALTH_CHECKS": False, **kept})
    assert "W010" in ids()


@pytest.mark.parametrize("kept", KEPT)
def test_w010_kept_connections_that_are_checked_are_fine(
    kept: dict[str, Any], database: Callable[..., None]
) -> None:
    server = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {}}
    database(**{**server, "CONN_HEALTH_CHECKS": True, **kept})
    assert "W010" not in ids()


def test_w010_connections_that_are_not_kept_need_no_check(
    database: Callable[..., None],
) -> None:
    server = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {}}
    database(**server, CONN_MAX_AGE=0, CONN_HEALTH_CHECKS=False)
    assert "W010" not in ids()


# -- W004: SQLite -----------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}])
def test_w004_sqlite_that_cannot_be_shared(
    options: dict[str, str], database: Callable[..., None]
) -> None:
    database(ENGINE="django.db.backends.sqlite3", OPTIONS=options)
    assert "W004" in ids()


@pytest.mark.parametrize("mode", ["IMMEDIATE", "immediate", "EXCLUSIVE"])
def test_w004_sqlite_that_takes_its_lock_first_is_fine(
    mode: str, database: Callable[..., None]
) -> None:
    options = {"transaction_mode": mode}
    database(ENGINE="django.db.backends.sqlite3", OPTIONS=options)
    assert "W004" not in ids()


# -- W016: replicas ---------------------------------------------------------------


class PrimaryAndReplica:
    """Reads from the one or the other, and lets migrations go everywhere."""

    def db_for_read(self, model: type, **hints: Any) -> str:
        return random.choice(["default", "other"])

    def db_for_write(self, model: type, **hints: Any) -> str:
        return "default"


def test_w016_a_replica_that_counts_as_an_outbox(settings: Any) -> None:
    settings.DATABASE_ROUTERS = [PrimaryAndReplica()]
    settings.SIGNAL_TASKS = {"DATABASES": None}
    (message,) = checks.databases.replicas_hold_no_outbox()
    assert message.id == "signal_tasks.W016"
    assert "'other' looks like a replica" in message.msg
    settings.SIGNAL_TASKS = {"DATABASES": ["default"]}
    assert list(checks.databases.replicas_hold_no_outbox()) == []


def test_w016_several_outboxes_without_replicas_are_fine(settings: Any) -> None:
    settings.SIGNAL_TASKS = {"DATABASES": None}
    assert list(checks.databases.replicas_hold_no_outbox()) == []
    settings.DATABASE_ROUTERS = [OneAliasRouter()]
    assert list(checks.databases.replicas_hold_no_outbox()) == []


# -- W005: content ----------------------------------------------------------------


@pytest.mark.parametrize("content", ["pickle", "application/x-python-serialize"])
def test_w005_pickle_is_accepted(
    content: str, celery_conf: Callable[..., None]
) -> None:
    celery_conf(accept_content=["json", content])
    assert ids() == {"W005"}


# -- W006: reconnecting -----------------------------------------------------------


def test_w006_workers_that_give_up(celery_conf: Callable[..., None]) -> None:
    celery_conf(broker_connection_max_retries=100)
    assert ids() == {"W006"}


# -- W007: the consumer of celery 5.7.0 -------------------------------------------


def test_w007_a_consumer_that_may_die(
    celery_conf: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery, "__version__", "5.7.0")
    celery_conf(broker_url="redis://localhost", worker_consumer="ours:Consumer")
    assert ids() == {"W007"}


@pytest.mark.parametrize(
    "fine",
    [
        {"version": "5.6.3"},
        {"broker_url": "amqp://localhost"},
        {"worker_consumer": "celery.worker.consumer:Consumer"},
    ],
)
def test_w007_all_other_combinations_are_fine(
    fine: dict[str, str],
    celery_conf: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(celery, "__version__", fine.pop("version", "5.7.0"))
    bad = {"broker_url": "redis://localhost", "worker_consumer": "ours:Consumer"}
    celery_conf(**bad | fine)
    assert ids() == set()


# -- W009, W012, W013: Celery settings with which nothing would run ----------------


@pytest.fixture
def receiver(signal: AsyncSignal) -> None:
    listen(signal, name="t.checked")


@pytest.mark.usefixtures("receiver")
def test_w009_json_is_refused(celery_conf: Callable[..., None]) -> None:
    celery_conf(accept_content=["msgpack"], task_serializer="msgpack")
    (message,) = checks.celery.messages_can_be_read()
    assert message.id == "signal_tasks.W009"
    assert "has not json" in message.msg
    assert ids() == {"W009"}


@pytest.mark.usefixtures("receiver")
@pytest.mark.parametrize("content", ["json", "application/json"])
def test_w009_json_is_accepted_by_either_name(
    content: str, celery_conf: Callable[..., None]
) -> None:
    celery_conf(accept_content=["msgpack", content], task_serializer="msgpack")
    assert ids() == set()


def test_w009_an_annotation_names_a_serializer_that_is_refused(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(signal, name="t.annotated")
    monkeypatch.setattr(current_app.tasks["t.annotated"], "serializer", "yaml")
    assert ids() == {"W009"}


@pytest.mark.usefixtures("receiver")
def test_w009_a_name_that_no_serializer_has_is_no_crash(
    celery_conf: Callable[..., None],
) -> None:
    celery_conf(accept_content=["unheard-of", "json"])
    assert ids() == set()


def cannot_be_routed(name: str, *_: Any, **__: Any) -> None:
    raise KeyError(name)


@pytest.mark.usefixtures("receiver")
def test_w012_a_route_that_fails(
    celery_conf: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    celery_conf(task_routes=[cannot_be_routed])
    vars(current_app._get_current_object()).pop("amqp", None)
    assert "W012" in ids()
    vars(current_app._get_current_object()).pop("amqp", None)


def test_w012_a_queue_that_may_not_be_made(
    signal: AsyncSignal, celery_conf: Callable[..., None]
) -> None:
    listen(signal, name="t.queued", queue="t.nowhere")
    celery_conf(task_create_missing_queues=False)
    found = [each.msg for each in checks.celery.messages_can_be_routed()]
    assert any("t.queued" in each and "QueueNotFound" in each for each in found)


@pytest.mark.usefixtures("receiver")
def test_w012_a_compression_that_is_not_there(
    celery_conf: Callable[..., None],
) -> None:
    celery_conf(task_compression="unheard-of")
    assert ids() == {"W012"}


@pytest.mark.usefixtures("receiver")
def test_w013_the_default_queue_is_left_out(celery_conf: Callable[..., None]) -> None:
    celery_conf(task_queues={"mine": {}})
    assert ids() == {"W013"}


@pytest.mark.usefixtures("receiver")
def test_w013_receivers_have_a_queue_of_their_own(
    celery_conf: Callable[..., None], settings: Any
) -> None:
    celery_conf(task_queues={"mine": {}})
    settings.SIGNAL_TASKS = {"DATABASES": ["default"], "QUEUE": "mine"}
    assert ids() == set()


def test_no_check_adds_a_queue_that_a_worker_would_serve(
    signal: AsyncSignal, celery_conf: Callable[..., None]
) -> None:
    listen(signal, name="t.elsewhere", queue="t.elsewhere")
    assert ids() == set()
    assert "t.elsewhere" not in current_app.amqp.queues


def test_two_signals_of_one_name_are_told() -> None:
    twins = [AsyncSignal(name="t.twin"), AsyncSignal(name="t.twin")]
    (message,) = checks.receivers.signals_own_their_names()
    assert message.id == "signal_tasks.E004"
    assert "2 signals have the name 't.twin'" in message.msg
    twins.pop()
    assert list(checks.receivers.signals_own_their_names()) == []


# -- E009: autocommit -------------------------------------------------------------


def test_e009_an_outbox_in_a_database_that_commits_nothing(
    database: Callable[..., None],
) -> None:
    database(AUTOCOMMIT=False)
    (message,) = checks.databases.transactions_are_committed()
    assert message.id == "signal_tasks.E009"
    assert "'default'" in message.msg
    assert message.is_serious()


def test_e009_is_silent_about_databases_without_an_outbox(
    database: Callable[..., None], settings: Any
) -> None:
    database(AUTOCOMMIT=False)
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "DATABASES": ["other"]}
    assert "E009" not in ids()


# -- E005: times in a zone: see db/test_zones.py ------------------------------------
# -- W008: receivers that nobody holds ----------------------------------------------


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the test be a part of Django's start; call it for the rest not to be."""
    monkeypatch.setattr(apps, "ready", False)
    return lambda: monkeypatch.setattr(apps, "ready", True)


class Listener:
    def method(self, sender: object, **kwargs: Any) -> None: ...

    def __call__(self, sender: object, **kwargs: Any) -> None: ...


def test_w008_a_receiver_that_is_gone_before_the_start_is_over(
    signal: AsyncSignal, starting: Callable[[], None]
) -> None:
    def nested(sender: object, **kwargs: Any) -> None: ...

    signal.connect(nested, name="t.gone_function")
    signal.connect(Listener().method, name="t.gone_method")
    signal.connect(Listener(), name="t.gone_object")
    del nested
    starting()
    gone = list(checks.receivers.receivers_are_held())
    for message, name in zip(gone, ("function", "method", "object"), strict=True):
        assert message.id == "signal_tasks.W008"
        assert f"'t.gone_{name}'" in message.msg
        assert "weak=False" in str(message.hint)
    for name in ("function", "method", "object"):
        listen(signal, name=f"t.gone_{name}")
    assert list(checks.receivers.receivers_are_held()) == []


def test_w008_what_is_disconnected_or_held_or_gone_later_is_fine(
    signal: AsyncSignal, starting: Callable[[], None]
) -> None:
    def nested(sender: object, **kwargs: Any) -> None: ...

    def later(sender: object, **kwargs: Any) -> None: ...

    signal.connect(nested, name="t.disconnected")
    signal.disconnect(nested)
    signal.connect(Listener(), name="t.held", weak=False)
    signal.connect(later, name="t.later")
    del nested
    starting()
    del later
    assert list(checks.receivers.receivers_are_held()) == []
