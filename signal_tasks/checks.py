"""System checks: wrong set-up fails in ``manage.py check``, with the way out.

One function per ID; each yields its messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from signal_tasks import conf
from signal_tasks.broker import config
from signal_tasks.conf import NAME, setting_errors
from signal_tasks.context import carries_schemas, hooks
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.delivery.tasks import not_taken_over, owns_task
from signal_tasks.dispatch.forwarding import ForwardedSignal
from signal_tasks.dispatch.signal import all_signals
from signal_tasks.registry.registry import registry

Messages = Iterator[checks.CheckMessage]
SERVERS = ("postgresql", "mysql")
#: Names of the one zone whose times are the database's own.
UTC = ("UTC", "Etc/UTC")


def register() -> None:
    """Register every check below."""
    checks.register(run_all, "signal_tasks")


def run_all(**_: Any) -> list[checks.CheckMessage]:
    """Run every check of this module."""
    return [message for check in ALL for message in check()]


def settings_are_valid() -> Messages:
    """E001: a key that is unknown, or a value that makes no sense."""
    found = list(setting_errors(getattr(django_settings, NAME, {})))
    for error in found or (*_hook_errors(), *_alert_errors()):
        yield checks.Error(error, id="signal_tasks.E001")


def _hook_errors() -> Iterator[str]:
    try:
        hooks()
    except ImproperlyConfigured as error:
        yield str(error)


def _alert_errors() -> Iterator[str]:
    options = conf.settings().ALERTS
    for path in options.CALL if options is not None else ():
        label = f"{NAME}['ALERTS']['CALL'] names {path!r}"
        try:
            found = import_string(path)
        except ImportError as error:
            yield f"{label}, which cannot be imported: {error}."
        else:
            if not callable(found):
                yield f"{label}, which cannot be called."


def times_are_aware() -> Messages:
    """E002: due times are compared with the database's clock, in UTC."""
    if not django_settings.USE_TZ:
        yield checks.Error(
            "signal_tasks needs aware datetimes.",
            hint="Set USE_TZ = True.",
            id="signal_tasks.E002",
        )


def receivers_own_their_tasks() -> Messages:
    """E003: another Celery task has the name of a receiver."""
    for receiver in registry.receivers():
        for name in receiver.names:
            if not owns_task(name):
                yield checks.Error(
                    f"The Celery task {name!r} is not the one of the receiver of "
                    "that name.",
                    hint="Give the receiver or the task another name with name=.",
                    id="signal_tasks.E003",
                )


def signals_own_their_names() -> Messages:
    """E004: two signals have one name, so their events cannot be told apart."""
    names = Counter(each.name for each in all_signals())
    for name, count in names.items():
        if count > 1:
            yield checks.Error(
                f"{count} signals have the name {name!r}.",
                hint="Give each a name of its own with AsyncSignal(name=...).",
                id="signal_tasks.E004",
            )


def times_are_stored_in_utc() -> Messages:
    """E005: due times of the database's clock and of ``using(at=...)`` would differ."""
    for alias in connections:
        connection = connections[alias]
        zone = connection.settings_dict["TIME_ZONE"]
        if connection.features.supports_timezones or zone in (None, *UTC):
            continue
        if alias in outbox_aliases():
            yield checks.Error(
                f"The database {alias!r} stores times of the zone {zone!r}, which the "
                "clock of a database without time zones does not tell.",
                hint="Remove TIME_ZONE from its settings, or keep the outbox in "
                "another database: SIGNAL_TASKS['DATABASES'].",
                id="signal_tasks.E005",
            )


def tenants_travel() -> Messages:
    """E007: django-tenants is installed, and a delivery would not know its tenant."""
    if not apps.is_installed("django_tenants"):
        return
    if not carries_schemas():
        yield checks.Error(
            "Tenants have PostgreSQL schemas, and no hook carries them: whatever a "
            "tenant sends is refused.",
            hint="Add 'signal_tasks.contrib.schemas.SearchPath' to "
            "SIGNAL_TASKS['CONTEXT'].",
            id="signal_tasks.E007",
        )
    if any(app.partition(".")[0] == "signal_tasks" for app in _apps_of_tenants()):
        yield checks.Error(
            "Each tenant would have an outbox of its own, which no worker reads.",
            hint="Name 'signal_tasks' in SHARED_APPS, and not in TENANT_APPS.",
            id="signal_tasks.E007",
        )


def _apps_of_tenants() -> Iterator[str]:
    """Yield the apps whose tables django-tenants makes in each tenant's schema."""
    public = getattr(django_settings, "PUBLIC_SCHEMA_NAME", "public")
    for kind, entry in getattr(django_settings, "TENANT_TYPES", {}).items():
        yield from () if kind == public else entry["APPS"]
    yield from getattr(django_settings, "TENANT_APPS", ())


def arguments_travel() -> Messages:
    """E008: a receiver of a signal of Django cannot get its usual arguments."""
    for signal in all_signals():
        if isinstance(signal, ForwardedSignal):
            for receiver, name in signal.unfit():
                yield checks.Error(
                    f"{signal.name} sends {name!r}, which cannot travel: each send "
                    f"would raise an error because of the receiver {receiver.name}.",
                    hint=f"Connect it with async_receiver(..., exclude=[{name!r}]).",
                    id="signal_tasks.E008",
                )


def messages_can_be_read() -> Messages:
    """W009: workers refuse the messages of receivers, and nothing would ever run."""
    refused = config.unreadable_receivers()
    if refused:
        yield checks.Warning(
            "Celery's workers refuse the messages of receivers, because accept_content "
            f"has not {' and '.join(sorted(set(refused.values())))}: {_some(refused)}.",
            hint='Add "json" to CELERY_ACCEPT_CONTENT. Receivers are always sent as '
            "JSON, whatever task_serializer says, unless task_annotations say more.",
            id="signal_tasks.W009",
        )


def messages_can_be_routed() -> Messages:
    """W012: messages of a receiver cannot be made or routed in this process."""
    for name, error in config.unroutable_receivers():
        yield checks.Warning(
            f"Messages for {name} cannot be published, so its deliveries would be "
            f"parked: {type(error).__name__}: {error}",
            hint="See CELERY_TASK_ROUTES, CELERY_TASK_QUEUES and "
            "CELERY_TASK_COMPRESSION.",
            id="signal_tasks.W012",
        )


def default_queue_is_served() -> Messages:
    """W013: a worker that is told of no queues would not serve the receivers'."""
    queue = config.unserved_queue()
    if queue is not None:
        yield checks.Warning(
            f"Receivers without a queue use {queue!r}, Celery's default queue, which "
            "CELERY_TASK_QUEUES leaves out: a worker without -Q does not serve it.",
            hint='Name one that is served with SIGNAL_TASKS["QUEUE"], add this one, '
            "or silence this check and start a worker with -Q.",
            id="signal_tasks.W013",
        )


def _some(names: Collection[str]) -> str:
    first = sorted(names)[:3]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def celery_app_is_set() -> Messages:
    """W001: no Celery app, so nothing knows where the broker is."""
    if config.app_is_missing():
        yield checks.Warning(
            "No Celery app is set in this process; events would be published to "
            "Celery's default broker, amqp://localhost.",
            hint="Import your Celery app in the project's __init__.py.",
            id="signal_tasks.W001",
        )


def tasks_are_not_eager() -> Messages:
    """W002: eager tasks run receivers in the sender's process."""
    if config.is_eager():
        yield checks.Warning(
            "CELERY_TASK_ALWAYS_EAGER runs receivers in the sender's process after "
            "its commit; retries and delays then wait for a worker.",
            hint="Unset it but in tests; signal_tasks.testing.run_pending() needs no "
            "broker either.",
            id="signal_tasks.W002",
        )


def connections_are_reused() -> Messages:
    """W003: a connection that is opened anew for every message costs throughput."""
    for alias in connections:
        conf = connections[alias].settings_dict
        if not any(server in conf["ENGINE"] for server in SERVERS):
            continue
        if conf.get("CONN_MAX_AGE") == 0 and not conf.get("OPTIONS", {}).get("pool"):
            yield checks.Warning(
                f"The database {alias!r} is connected to anew for every message and "
                "request (CONN_MAX_AGE is 0).",
                hint="Set CONN_MAX_AGE, e.g. 600, and CONN_HEALTH_CHECKS = True.",
                id="signal_tasks.W003",
            )


def connections_are_checked() -> Messages:
    """W010: connections that wait to be used again may have been closed meanwhile."""
    for alias in connections:
        conf = connections[alias].settings_dict
        if not any(server in conf["ENGINE"] for server in SERVERS):
            continue
        pool = conf.get("OPTIONS", {}).get("pool")
        if isinstance(pool, dict) and pool.get("check"):
            continue
        if (pool or conf.get("CONN_MAX_AGE") != 0) and not conf["CONN_HEALTH_CHECKS"]:
            kept = "in Django's pool " if pool else ""
            yield checks.Warning(
                f"The connections of the database {alias!r} that are kept {kept}are "
                "used again without a look: after a restart or failover of the "
                "database, requests fail with each of them.",
                hint="Set CONN_HEALTH_CHECKS = True.",
                id="signal_tasks.W010",
            )


def sqlite_can_share() -> Messages:
    """W004: SQLite's defaults make concurrent workers fail with "locked"."""
    for alias in connections:
        conf = connections[alias].settings_dict
        mode = str(conf.get("OPTIONS", {}).get("transaction_mode", "")).upper()
        if "sqlite3" in conf["ENGINE"] and mode not in ("IMMEDIATE", "EXCLUSIVE"):
            yield checks.Warning(
                f"The SQLite database {alias!r} fails with 'database is locked' when "
                "several processes write.",
                hint='Set OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20, '
                '"init_command": "PRAGMA journal_mode=WAL;"}.',
                id="signal_tasks.W004",
            )


def content_is_json() -> Messages:
    """W005: a worker that accepts pickle runs code of whoever writes to the broker."""
    accepted = config.unsafe_content()
    if accepted:
        yield checks.Warning(
            f"Celery accepts {', '.join(accepted)} messages, with which whoever can "
            "write to the broker can run code in the workers.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"].',
            id="signal_tasks.W005",
        )


def worker_outlives_outages() -> Messages:
    """W006: a worker gives up when the broker stays away."""
    if config.reconnects_are_bounded():
        yield checks.Warning(
            "A Celery worker ends when its broker stays away for long "
            "(broker_connection_max_retries).",
            hint="Set CELERY_BROKER_CONNECTION_MAX_RETRIES = None, or make sure that "
            "a supervisor starts workers again.",
            id="signal_tasks.W006",
        )


def worker_consumer_survives() -> Messages:
    """W007: celery 5.7.0 with Redis and a consumer of the project's own."""
    if config.consumer_may_die():
        yield checks.Warning(
            "With celery 5.7.0 on Redis a worker ends when Redis goes away; "
            "signal_tasks mends that only for Celery's own consumer, and "
            "worker_consumer names another.",
            hint="Derive it from signal_tasks.worker.consumer.ResilientConsumer.",
            id="signal_tasks.W007",
        )


def receivers_are_held() -> Messages:
    """W008: a receiver that was connected weakly, and held by nobody."""
    for name in registry.gone():
        yield checks.Warning(
            f"The receiver {name!r} was connected, and no longer exists: nobody held "
            "it, so nothing is sent to it.",
            hint="Connect it with weak=False, or define it at the top of a module.",
            id="signal_tasks.W008",
        )


def task_class_leaves_receivers_alone() -> Messages:
    """W011: the project's Celery task class defines what receivers do without."""
    if lost := not_taken_over():
        yield checks.Warning(
            "The task class of the Celery app (task_cls) defines "
            f"{', '.join(lost)}; the tasks of receivers do without, because their "
            "rows decide when they are run and again.",
            hint="Carry what it carries with a class in SIGNAL_TASKS['CONTEXT'], and "
            "silence this check.",
            id="signal_tasks.W011",
        )


ALL: tuple[Callable[[], Messages], ...] = (
    settings_are_valid,
    times_are_aware,
    receivers_own_their_tasks,
    signals_own_their_names,
    times_are_stored_in_utc,
    tenants_travel,
    arguments_travel,
    messages_can_be_read,
    messages_can_be_routed,
    default_queue_is_served,
    celery_app_is_set,
    tasks_are_not_eager,
    connections_are_reused,
    connections_are_checked,
    sqlite_can_share,
    content_is_json,
    worker_outlives_outages,
    worker_consumer_survives,
    receivers_are_held,
    task_class_leaves_receivers_alone,
)
