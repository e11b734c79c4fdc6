"""The pages that the trial reads."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("signals/", include("signal_tasks.dashboard.urls")),
]
