"""URLs of the project: the dashboard, the admin, the metrics."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("signals/", include("signal_tasks.dashboard.urls")),
    path("", include("signal_tasks.telemetry.urls")),
]
