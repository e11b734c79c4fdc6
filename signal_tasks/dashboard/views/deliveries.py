"""The page of one delivery, and the keys that dead letters block."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from signal_tasks import operations
from signal_tasks.dashboard.access import asking, demand, page
from signal_tasks.dashboard.forms import ExplainedForm
from signal_tasks.dashboard.objects import page_of, with_pages
from signal_tasks.dashboard.rendering import address, refused, show
from signal_tasks.reports import deliveries as reports
from signal_tasks.reports import lines
from signal_tasks.reports.moments import word
from signal_tasks.reports.naming import receivers_with
from signal_tasks.selection import Selection
from signal_tasks.steering.keys import blocked_by


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
                "replay": lines.changing("replay", only),
                "discard": lines.changing("discard", only),
                "skip": lines.skipping(pk),
            },
            "inspect": lines.inspecting(pk),
            "admin": page_of(request, "signal_tasks.delivery", pk),
        }

    return show(request, "delivery.html", read)


#: Keys of the page, each of which takes a few statements.
MAX_KEYS = 20


@page
def blocked(request: HttpRequest) -> HttpResponse:
    """Show the keys of ordered receivers in which nothing runs."""
    text = word(request.GET.get("receiver"))

    def read(database: str) -> Mapping[str, Any]:
        named = receivers_with(database, text)
        keys = operations.blocked_keys(
            receiver=named.names or None, limit=MAX_KEYS + 1, database=database
        )
        return {
            "section": "blocked",
            "keys": keys[:MAX_KEYS],
            "is_cut": len(keys) > MAX_KEYS,
            "named": named,
        }

    return show(request, "blocked.html", read)


@asking
def skip(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Ask, then let those run that wait behind a dead letter."""
    demand(request, "skip")
    form = ExplainedForm(request.POST or None, label_suffix="")
    if not form.is_valid():
        return _ask(request, pk, form)
    back = address(request, "delivery", pk)
    try:
        operations.skip(pk, by=request.user, reason=form.cleaned_data["reason"])
    except ValueError as error:
        return refused(request, error, back)
    return redirect(back)


def _ask(request: HttpRequest, pk: uuid.UUID, form: ExplainedForm) -> HttpResponse:
    def read(database: str) -> Mapping[str, Any]:
        return {
            "section": "blocked",
            "pk": pk,
            "key": blocked_by(pk, database),
            "form": form,
            "command": lines.skipping(pk),
        }

    return show(request, "skip.html", read, live=False)
