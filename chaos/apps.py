"""The Django app of the fault suite."""

from __future__ import annotations

import os

from django.apps import AppConfig

from chaos import celery_app, crash_points, mutations, trace

__all__ = ["ChaosConfig", "celery_app"]


class ChaosConfig(AppConfig):
    """Installs, from outside of the engine, what strikes it and what watches it."""

    name = "chaos"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make a process with a role one that can be struck and is watched."""
        if role := os.environ.get("CHAOS_ROLE"):
            crash_points.install(role)
            trace.install()
            if name := os.environ.get("CHAOS_MUTATION"):
                mutations.commit(name)
