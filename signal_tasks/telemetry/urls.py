"""URL of the metrics: ``path("", include("signal_tasks.telemetry.urls"))``."""

from __future__ import annotations

from django.urls import path

from signal_tasks.telemetry.views import metrics_view

urlpatterns = [path("metrics", metrics_view, name="signal_tasks_metrics")]
