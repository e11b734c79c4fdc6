"""Examine what has to be there before any process is started: settings, app, tables."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from functools import partial

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from signal_tasks.broker import config
from signal_tasks.broker.connection import reach, tries
from signal_tasks.doctor.findings import Finding, advice, ok, problem, within
from signal_tasks.error_text import line_of
from signal_tasks.registry.registry import registry

#: Checks of which a step of its own tells more.
TOLD_ELSEWHERE = ("signal_tasks.W001", "signal_tasks.W014")
MIGRATE = "Run: manage.py migrate"
APP_OF_PACKAGE = "from {module} import app as celery_app"
WRITE_AN_APP = (
    "Write {package}/celery.py, as Celery's page 'First steps with Django' has it, and "
    "import it in {package}/__init__.py: from {package}.celery import app as celery_app"
)
IMPORT_THE_APP = (
    "{package}/celery.py is there, and nothing imports it. Add to "
    "{package}/__init__.py: from {package}.celery import app as celery_app"
)
NAME_A_BROKER = (
    'Set CELERY_BROKER_URL, e.g. "redis://127.0.0.1:6379/0". If it is set, the Celery app '
    'does not read it: app.config_from_object("django.conf:settings", namespace="CELERY")'
)


def settings() -> Iterator[Finding]:
    """Yield what ``manage.py check`` says of this library."""
    found = [
        message
        for message in checks.run_checks(tags=["signal_tasks"])
        if not message.is_silenced() and message.id not in TOLD_ELSEWHERE
    ]
    for message in found:
        make = problem if message.is_serious() else advice
        yield make("settings", f"{message.msg} ({message.id})", message.hint or "")
    if not any(message.is_serious() for message in found):
        more = "no other check complains" if found else "no check complains"
        yield ok("settings", more)


def database(alias: str, timeout: float) -> Finding:
    """Return whether the database answers, and has our tables."""
    vendor = connections[alias].display_name
    try:
        within(timeout, partial(_connect, alias))
        missing = _unapplied(alias)
    # Drivers raise what they like for an address or a password that is wrong.
    except Exception as error:  # noqa: BLE001
        text = f"{alias}: {vendor} does not answer: {line_of(error)}"
        remedy = f"Start it, or mend DATABASES[{alias!r}] in the settings."
        return problem("database", text, remedy)
    if missing:
        names = ", ".join(missing)
        remedy = MIGRATE if alias == "default" else f"{MIGRATE} --database {alias}"
        return problem(
            "database", f"{alias}: migrations are not applied: {names}", remedy
        )
    return ok("database", f"{alias}: {vendor} answers and is migrated")


def _connect(alias: str) -> bool:
    """Open a connection of this thread's own, and close it."""
    connection = connections[alias]
    try:
        connection.ensure_connection()
    finally:
        connection.close()
    return True


def _unapplied(alias: str) -> list[str]:
    executor = MigrationExecutor(connections[alias])
    targets = executor.loader.graph.leaf_nodes("signal_tasks")
    plan = executor.migration_plan(targets)
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def celery_app() -> Finding:
    """Return whether this process, as every web process, has the project's app."""
    module = getattr(django_settings, "SETTINGS_MODULE", None) or ""
    package = str(module).partition(".")[0]
    if config.app_is_missing():
        has_one = package and importlib.util.find_spec(f"{package}.celery") is not None
        remedy = IMPORT_THE_APP if has_one else WRITE_AN_APP
        return problem(
            "celery app",
            "this process, and with it every web process, has no Celery app: it cannot "
            "publish, and each message waits some seconds for a relay",
            remedy.format(package=package or "yourproject"),
        )
    module = config.app_module()
    where = f", found in {module}" if module else ""
    return ok("celery app", f"imported with the project{where}", module=module)


def broker(timeout: float) -> Finding:
    """Return whether this process can reach the broker."""
    if config.is_eager():
        return ok("broker", "not needed: CELERY_TASK_ALWAYS_EAGER runs receivers here")
    if config.broker_is_unnamed():
        text = "no broker is named, so Celery takes amqp://guest@localhost"
        return problem("broker", text, NAME_A_BROKER)
    address = config.broker_address()
    try:
        config.load_transport()  # which takes its time, and needs no answer
        error = within(timeout * tries() + 1, partial(reach, timeout))
    # Addresses are the project's own, and so is what they raise.
    except Exception as raised:  # noqa: BLE001
        error = raised
    if error is None:
        return ok("broker", f"{address} answers")
    return problem("broker", f"{address}: {line_of(error)}", _remedy(error, address))


def _remedy(error: Exception, address: str) -> str:
    kind = address.partition(":")[0]
    if isinstance(error, ImportError):
        extra = "redis" if kind in ("redis", "rediss", "sentinel") else kind
        return f'Install its client library: pip install "celery[{extra}]"'
    if isinstance(error, KeyError | ValueError):
        return "CELERY_BROKER_URL is no address that Celery knows; mend it."
    start = "Start it, or name another one with CELERY_BROKER_URL."
    if django_settings.DEBUG and kind == "redis":
        return f"{start} For development: manage.py signal_tasks dev"
    return start


def receivers() -> Finding:
    """Return whether this process knows any receiver."""
    known = list(registry.receivers())
    if known:
        names = ", ".join(each.name for each in known[:3])
        more = f" and {len(known) - 3} more" if len(known) > 3 else ""
        return ok("receivers", f"{len(known)} connected: {names}{more}")
    modules = [f"{config.name}.receivers" for config in apps.get_app_configs()]
    loaded = [name for name in modules if name in sys.modules]
    where = (
        f"{', '.join(loaded)} has been imported, and connects none to an AsyncSignal"
        if loaded
        else "no installed app has a module named receivers"
    )
    return advice(
        "receivers",
        f"no durable receiver is connected, so a send delivers nothing: {where}",
        "Write one in receivers.py of an app in INSTALLED_APPS, with @receiver(signal).",
    )
