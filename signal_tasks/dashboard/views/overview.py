"""The first page: is it well, and if not, what is stuck, why, since when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse

from signal_tasks.dashboard.access import page
from signal_tasks.dashboard.rendering import show
from signal_tasks.reports import history
from signal_tasks.reports import overview as reports


@page
def overview(request: HttpRequest) -> HttpResponse:
    """Show health, and the receivers, those with problems first."""

    def read(database: str) -> Mapping[str, Any]:
        found = reports.overview(database, history.span_of(request.GET))
        return {
            "section": "overview",
            "overview": found,
            "chart": found.chart,
            "figures": found.figures,
            "spans": list(history.SPANS),
        }

    return show(request, "overview.html", read)
