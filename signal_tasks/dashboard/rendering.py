"""Render a page: the frame that all have, the outbox it is about, what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from signal_tasks.dashboard.access import verbs_of
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.reports.bounds import STATEMENT_SECONDS, TooSlow, bounded_statements

FOLDER = "signal_tasks/dashboard/"


def database_of(request: HttpRequest) -> str:
    """Return the outbox that the page is about: the first, or ``?database=``."""
    aliases = outbox_aliases()
    wanted = request.GET.get("database") or aliases[0]
    if wanted not in aliases:
        raise Http404(f"There is no outbox {wanted!r}.")
    return wanted


def show(
    request: HttpRequest,
    template: str,
    read: Callable[[str], Mapping[str, Any]],
    *,
    live: bool = True,
) -> HttpResponse:
    """Render a template with what ``read`` returns for the outbox of the page.

    ``read`` runs in one transaction whose statements are bounded in time. ``live``
    pages refresh themselves.
    """
    database = database_of(request)
    try:
        with bounded_statements(database):
            context = {**read(database)}
    except TooSlow:
        template, context = "too_slow.html", {"seconds": STATEMENT_SECONDS}
    context |= {
        "database": database,
        "databases": outbox_aliases(),
        "is_live": live,
        "may": verbs_of(request),
        "section": context.get("section", ""),
    }
    return render(request, f"{FOLDER}{template}", context)
