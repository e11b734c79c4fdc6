"""The Django app of the fault suite."""

from __future__ import annotations

import os

from django.apps import AppConfig

from chaos import celery_app

__all__ = ["ChaosConfig", "celery_app"]


class ChaosConfig(AppConfig):
    """Set crash points, trace and mutation in the processes under test."""

    name = "chaos"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Set the hooks if the environment gives this process a role."""
        if role := os.environ.get("CHAOS_ROLE"):
            _set_hooks(role, os.environ.get("CHAOS_MUTATION", ""))


def _set_hooks(role: str, mutation: str) -> None:
    from chaos import crash_points, mutations, trace  # these need all models

    crash_points.install(role)
    trace.install()
    if mutation:
        mutations.apply(mutation)
