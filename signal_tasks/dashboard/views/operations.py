"""Operations: the dialogue that asks, the list, and the page of one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from signal_tasks import operations
from signal_tasks.dashboard import choosing
from signal_tasks.dashboard.access import asking, changing, demand, page
from signal_tasks.dashboard.choosing import Choice
from signal_tasks.dashboard.forms import OperationForm, ReasonForm
from signal_tasks.dashboard.rendering import address, refused, show
from signal_tasks.operations import Operation
from signal_tasks.reports import lines
from signal_tasks.reports import trail as reports
from signal_tasks.reports.bounds import MAX_COUNTED, Count
from signal_tasks.reports.moments import id_of

#: What each verb does, as the dialogue says it.
EFFECTS = {
    "replay": "They become pending again, with all their attempts, and their "
    "receivers run again.",
    "discard": "They are finished without being run. Only a replay brings them back, "
    "for as long as discarded deliveries are kept.",
}
STARTS: dict[str, Callable[..., Operation]] = {
    "replay": operations.replay,
    "discard": operations.discard,
}


@asking
def new_operation(request: HttpRequest) -> HttpResponse:
    """Ask before many deliveries are changed; then have an operation change them."""
    if request.method == "POST":
        return _confirmed(request)
    verb = choosing.verb_of(request.GET)
    demand(request, verb)
    selection = choosing.selection_of(request.GET)

    def read(database: str) -> Mapping[str, Any]:
        number = selection.count(MAX_COUNTED, verb=verb)
        choice = Choice(verb=verb, selection=selection, number=number)
        return _asked(choice, OperationForm(verb=verb, number=min(number, MAX_COUNTED)))

    return show(request, "new_operation.html", read, live=False)


def _asked(choice: Choice, form: OperationForm) -> Mapping[str, Any]:
    number = min(choice.number, MAX_COUNTED)
    return {
        "section": "operations",
        "choice": choice,
        "count": Count(number, is_more=choice.number > MAX_COUNTED),
        "effect": EFFECTS[choice.verb],
        "form": form,
        "signed": choice.signed(),
        "command": lines.changing(choice.verb, choice.selection),
    }


def _confirmed(request: HttpRequest) -> HttpResponse:
    choice = choosing.confirmed(request.POST.get("choice", ""))
    demand(request, choice.verb)
    number = min(choice.number, MAX_COUNTED)
    form = OperationForm(request.POST, verb=choice.verb, number=number)
    if not form.is_valid():
        template = "new_operation.html"
        return show(request, template, lambda _: _asked(choice, form), live=False)
    wanted = form.cleaned_data
    options: dict[str, Any] = {"reason": wanted["reason"], "by": request.user}
    options["rate"] = wanted["rate"] or None
    if choice.verb == "replay":
        options["canary"] = wanted["canary"]
    operation = STARTS[choice.verb](choice.selection, **options)
    return redirect(address(request, "operation", operation.id))


@page
def operation_list(request: HttpRequest) -> HttpResponse:
    """Show the latest operations."""
    before = id_of(request.GET.get("before"))

    def read(database: str) -> Mapping[str, Any]:
        found = reports.operations(database, before)
        return {"section": "operations", "page": found}

    return show(request, "operations.html", read)


@page
def operation(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Show the progress of an operation in all outboxes, who asked for it and why."""

    def read(database: str) -> Mapping[str, Any]:
        found = _find(pk)
        verbs = ("cancel", "resume")
        return {
            "section": "operations",
            "operation": found,
            "words": found.selection.words(),
            "over": found.done + found.failed + found.skipped,
            "commands": {verb: lines.tracking(pk, verb) for verb in verbs},
        }

    return show(request, "operation.html", read)


@changing
def cancel(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Leave what the operation has not reached as it is."""
    return _steer(request, pk, Operation.cancel)


@changing
def resume(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Go on with an operation that was stopped."""
    return _steer(request, pk, Operation.resume)


def _steer(
    request: HttpRequest, pk: uuid.UUID, act: Callable[..., Any]
) -> HttpResponse:
    demand(request, "cancel")
    back = address(request, "operation", pk)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return refused(request, form, back)
    try:
        act(_find(pk), by=request.user, reason=form.cleaned_data["reason"])
    except (ValueError, LookupError) as error:
        return refused(request, error, back)
    return redirect(back)


def _find(pk: uuid.UUID) -> Operation:
    found = operations.find(pk)
    if found is None:
        raise Http404(f"There is no operation {pk}.")
    return found
