"""URLs of the dashboard; include them where the project likes."""

from __future__ import annotations

from django.urls import path

from signal_tasks.dashboard.views import (
    deliveries,
    events,
    fleet,
    groups,
    operations,
    overview,
    receivers,
)

app_name = "signal_tasks"

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("events/", events.events, name="events"),
    path("events/<uuid:pk>/", events.event, name="event"),
    path("deliveries/<uuid:pk>/", deliveries.delivery, name="delivery"),
    path("deliveries/<uuid:pk>/skip/", deliveries.skip, name="skip"),
    path("blocked/", deliveries.blocked, name="blocked"),
    path("dead/", groups.groups, name="groups"),
    path("acknowledge/", groups.acknowledge, name="acknowledge"),
    path("dead/<slug:fingerprint>/", groups.group, name="group"),
    path("dead/<slug:fingerprint>/note/", groups.note, name="note"),
    path("operations/", operations.operation_list, name="operations"),
    path("operations/new/", operations.new_operation, name="new_operation"),
    path("operations/<uuid:pk>/", operations.operation, name="operation"),
    path("operations/<uuid:pk>/cancel/", operations.cancel, name="cancel"),
    path("operations/<uuid:pk>/resume/", operations.resume, name="resume"),
    path("receivers/", receivers.catalogue, name="receivers"),
    path("receivers/<path:name>/", receivers.receiver, name="receiver"),
    path("control/", receivers.control, name="control"),
    path("workers/", fleet.workers, name="workers"),
    path("log/", fleet.log, name="log"),
]
