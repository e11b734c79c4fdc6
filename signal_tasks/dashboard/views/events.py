"""Events: a list that can be searched, and the page of one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse

from signal_tasks.dashboard.access import page
from signal_tasks.dashboard.objects import page_of, with_pages
from signal_tasks.dashboard.rendering import show
from signal_tasks.reports import events as reports
from signal_tasks.reports import lines


@page
def events(request: HttpRequest) -> HttpResponse:
    """Show the latest events that match the filters of the URL."""
    wanted = reports.EventFilter.from_query(request.GET)

    def read(database: str) -> Mapping[str, Any]:
        found = reports.events(database, wanted)
        return {"section": "events", "page": found, "filter": wanted}

    return show(request, "events.html", read)


@page
def event(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Show an event, its deliveries, causes and effects."""

    def read(database: str) -> Mapping[str, Any]:
        found = reports.event(database, pk)
        if found is None:
            raise Http404(f"There is no event {pk}.")
        return {
            "section": "events",
            "event": found,
            "objects": with_pages(request, found.payload.references),
            "inspect": lines.inspecting(pk),
            "admin": page_of(request, "signal_tasks.event", pk),
        }

    return show(request, "event.html", read)
