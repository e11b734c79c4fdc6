"""The page of one delivery."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse

from signal_tasks.dashboard.access import page
from signal_tasks.dashboard.objects import with_pages
from signal_tasks.dashboard.rendering import show
from signal_tasks.reports import deliveries as reports
from signal_tasks.reports import lines
from signal_tasks.selection import Selection


@page
def delivery(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Show what a delivery went through, why it waits, and what can be done."""

    def read(database: str) -> Mapping[str, Any]:
        found = reports.delivery(database, pk)
        if found is None:
            raise Http404(f"There is no delivery {pk}.")
        only = Selection(ids=(pk,))
        return {
            "section": "events",
            "delivery": found,
            "objects": with_pages(request, found.payload.references),
            "commands": {
                verb: lines.changing(verb, only) for verb in ("replay", "discard")
            },
            "inspect": lines.inspecting(pk),
        }

    return show(request, "delivery.html", read)
