"""Checks of Django's settings and of ours."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from signal_tasks import conf
from signal_tasks.checks.messages import Messages
from signal_tasks.conf import NAME, setting_errors
from signal_tasks.context import carries_schemas, hooks
from signal_tasks.error_text import line_of


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
        # A module of the project may raise anything while it is imported.
        except Exception as error:  # noqa: BLE001
            yield f"{label}, which cannot be imported: {line_of(error)}."
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


ALL = (
    settings_are_valid,
    times_are_aware,
    tenants_travel,
)
