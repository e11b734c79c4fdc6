"""Dead letters in groups: the list, the page of one, and notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from signal_tasks import operations
from signal_tasks.dashboard.access import changing, demand, page
from signal_tasks.dashboard.forms import NoteForm, ReasonForm
from signal_tasks.dashboard.rendering import address, refused, show
from signal_tasks.reports import groups as reports
from signal_tasks.reports import lines
from signal_tasks.reports.naming import receivers_with
from signal_tasks.selection import Selection


@page
def groups(request: HttpRequest) -> HttpResponse:
    """Show the failure groups that have dead letters, or all."""
    wanted = reports.GroupFilter.from_query(request.GET)

    def read(database: str) -> Mapping[str, Any]:
        named = receivers_with(database, wanted.receiver)
        return {
            "section": "groups",
            "page": reports.groups(database, wanted, named.names),
            "named": named,
            "filter": wanted,
            "acknowledge": lines.acknowledging(),
        }

    return show(request, "groups.html", read)


@page
def group(request: HttpRequest, fingerprint: str) -> HttpResponse:
    """Show a failure group: a sample, its dead letters, and what can be done."""

    def read(database: str) -> Mapping[str, Any]:
        found = reports.group(database, fingerprint)
        if found is None:
            raise Http404(f"There is no failure group {fingerprint}.")
        chosen = Selection(fingerprint=fingerprint)
        commands = {
            verb: lines.changing(verb, chosen) for verb in ("replay", "discard")
        }
        commands["note"] = lines.noting(fingerprint)
        return {"section": "groups", "group": found, "commands": commands}

    return show(request, "group.html", read)


def _page_of(request: HttpRequest, fingerprint: str) -> str:
    return address(request, "group", fingerprint)


@changing(_page_of)
def note(request: HttpRequest, fingerprint: str) -> HttpResponse:
    """Write a note on a failure group, in place of an earlier one."""
    demand(request, "note")
    back = _page_of(request, fingerprint)
    form = NoteForm(request.POST)
    if not form.is_valid():
        return refused(request, form, back)
    try:
        operations.annotate(fingerprint, form.cleaned_data["note"], by=request.user)
    except LookupError as error:
        raise Http404(str(error)) from error
    return redirect(back)


def _list(request: HttpRequest) -> str:
    return address(request, "groups")


@changing(_list)
def acknowledge(request: HttpRequest) -> HttpResponse:
    """Say that the dead letters of now, in all outboxes, were seen."""
    demand(request, "acknowledge")
    back = _list(request)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return refused(request, form, back)
    operations.acknowledge(by=request.user, reason=form.cleaned_data["reason"])
    return redirect(back)
