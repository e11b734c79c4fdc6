"""The first page: is it well, and if not, what is stuck, why, since when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse

from signal_tasks.dashboard.access import page
from signal_tasks.dashboard.rendering import show
from signal_tasks.reports import overview as reports


@page
def overview(request: HttpRequest) -> HttpResponse:
    """Show health, and the receivers, those with problems first."""

    def read(database: str) -> Mapping[str, Any]:
        return {"section": "overview", "overview": reports.overview(database)}

    return show(request, "overview.html", read)
