"""URLs of the dashboard; include them where the project likes."""

from __future__ import annotations

from django.urls import path

from signal_tasks.dashboard.views import events, overview

app_name = "signal_tasks"

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("events/", events.events, name="events"),
    path("events/<uuid:pk>/", events.event, name="event"),
]
