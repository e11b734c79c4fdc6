"""The app of the dashboard."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DashboardConfig(AppConfig):
    """Templates, static files and URLs; no models."""

    name = "signal_tasks.dashboard"
    label = "signal_tasks_dashboard"
    verbose_name = _("Signals and deliveries")
