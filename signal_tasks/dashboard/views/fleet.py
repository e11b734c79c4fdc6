"""Workers and relays, and the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse

from signal_tasks.dashboard.access import page
from signal_tasks.dashboard.rendering import show
from signal_tasks.reports import processes, trail


@page
def workers(request: HttpRequest) -> HttpResponse:
    """Show who is at work, on what, and who is gone."""

    def read(database: str) -> Mapping[str, Any]:
        return {"section": "workers", "page": processes.workers(database)}

    return show(request, "workers.html", read)


@page
def log(request: HttpRequest) -> HttpResponse:
    """Show who did what, when and why."""
    wanted = trail.TrailFilter.from_query(request.GET)

    def read(database: str) -> Mapping[str, Any]:
        found = trail.trail(database, wanted)
        return {"section": "log", "page": found, "filter": wanted}

    return show(request, "log.html", read)
