"""Render a page: the frame that all have, the outbox it is about, what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

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
    status: int = 200,
) -> HttpResponse:
    """Render a template with what ``read`` returns for the outbox of the page.

    ``read`` runs in one transaction whose statements are bounded in time. ``live``
    pages refresh themselves.
    """
    database = database_of(request)
    try:
        with bounded_statements(database):
            context = read(database)
    except TooSlow:
        template, context = "too_slow.html", {"seconds": STATEMENT_SECONDS}
    return _render(request, template, context, live=live, status=status)


def refused(
    request: HttpRequest, why: forms.Form | Exception, back: str
) -> HttpResponse:
    """Say why what a form asked for was not done."""
    errors = list(_labelled(why)) if isinstance(why, forms.Form) else [str(why)]
    context = {"errors": errors, "back": back}
    return _render(request, "refused.html", context, status=400)


def _labelled(form: forms.Form) -> Iterator[str]:
    """Yield the errors of a form, each with the label of its field, if it is of one."""
    for name, texts in form.errors.items():
        label = f"{form[name].label}: " if name in form.fields else ""
        yield from (f"{label}{text}" for text in texts)


def address(request: HttpRequest, name: str, *args: object) -> str:
    """Return the address of a page of the same outbox."""
    path = reverse(f"signal_tasks:{name}", args=args)
    given = request.GET.get("database")
    return f"{path}?{urlencode({'database': given})}" if given else path


def _render(
    request: HttpRequest,
    template: str,
    context: Mapping[str, Any],
    *,
    live: bool = False,
    status: int = 200,
) -> HttpResponse:
    frame = {
        "database": database_of(request),
        "databases": outbox_aliases(),
        "is_live": live,
        "may": verbs_of(request),
        "section": context.get("section", ""),
    }
    context = {**context, **frame}
    return render(request, f"{FOLDER}{template}", context, status=status)
