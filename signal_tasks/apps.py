"""The Django app: checks, logging, worker hooks, and the receivers of all apps."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SignalTasksConfig(AppConfig):
    """Make durable signals work wherever Django is set up, with nothing to import."""

    name = "signal_tasks"
    verbose_name = "Signal tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import every app's ``receivers`` module and listen for Celery workers."""
        from signal_tasks import checks
        from signal_tasks.conf import settings
        from signal_tasks.db.aliases import outbox_aliases
        from signal_tasks.doctor import probe
        from signal_tasks.telemetry import logs, tracing
        from signal_tasks.worker import bootstrap

        checks.register()
        logs.start()
        bootstrap.prepare(probe.keep)
        if settings().TRACING:
            tracing.start()
        # Cache the aliases now: during a request a tenant's router may say otherwise.
        outbox_aliases()
        autodiscover_modules("receivers")
