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
from signal_tasks.reports import groups, lines, past
from signal_tasks.reports import trail as reports
from signal_tasks.reports.bounds import MAX_COUNTED, Count
from signal_tasks.reports.moments import id_of
from signal_tasks.selection import Selection

#: What each verb changes, one or many.
THINGS = {
    "replay": ("delivery", "deliveries"),
    "discard": ("delivery", "deliveries"),
    "backfill": ("past event", "past events"),
}
#: Why there may be nothing.
NOTHING = {
    "replay": "only dead and discarded deliveries can be.",
    "discard": "only pending and dead deliveries can be.",
    "backfill": "the receiver has a delivery of each event of this time. Only what had "
    "another durable receiver was stored.",
}
#: What each verb does, as the dialogue says it.
EFFECTS = {
    "replay": "They become pending again, with all their attempts, and their "
    "receivers run again.",
    "discard": "They are finished without being run. Only a replay brings them back, "
    "for as long as discarded deliveries are kept.",
    "backfill": "Each becomes a delivery to the receiver, which then runs it, if its "
    "connection hears the sender and accepts the arguments. None is delivered twice.",
}


def _backfill(selection: Selection, **options: Any) -> Operation:
    assert selection.receiver is not None  # noqa: S101 - checked before it was signed
    assert selection.since is not None  # noqa: S101
    return operations.backfill(
        selection.receiver,
        since=selection.since,
        until=selection.until,
        signal=selection.signal,
        **options,
    )


STARTS: dict[str, Callable[..., Operation]] = {
    "replay": operations.replay,
    "discard": operations.discard,
    "backfill": _backfill,
}


@asking
def new_operation(request: HttpRequest) -> HttpResponse:
    """Ask before many deliveries are changed; then have an operation change them."""
    if request.method == "POST":
        return _confirmed(request)
    verb = choosing.verb_of(request.GET)
    demand(request, verb)
    if verb == "backfill":
        return _ask_for_past_events(request)
    selection = choosing.selection_of(request.GET)
    return _ask(
        request, verb, selection, lambda: selection.count(MAX_COUNTED, verb=verb)
    )


def _ask_for_past_events(request: HttpRequest) -> HttpResponse:
    """Ask for the times first, and again where they are not possible."""
    errors: list[str] = []
    try:
        selection = choosing.past_events_of(request.GET)
        if request.GET.get("since"):
            past.check(selection)
            return _ask(
                request,
                "backfill",
                selection,
                lambda: past.count(selection, MAX_COUNTED),
            )
    except ValueError as error:
        errors.append(str(error))
    context = {"section": "receivers", "given": request.GET, "errors": errors}
    status = 400 if errors else 200
    return show(request, "backfill.html", lambda _: context, live=False, status=status)


def _ask(
    request: HttpRequest, verb: str, selection: Selection, count: Callable[[], int]
) -> HttpResponse:
    def read(database: str) -> Mapping[str, Any]:
        number = count()
        choice = Choice(verb=verb, selection=selection, number=number)
        form = OperationForm(verb=verb, number=min(number, MAX_COUNTED))
        return _asked(database, choice, form)

    return show(request, "new_operation.html", read, live=False)


def _asked(database: str, choice: Choice, form: OperationForm) -> Mapping[str, Any]:
    number = min(choice.number, MAX_COUNTED)
    fingerprint = choice.selection.fingerprint
    return {
        "section": "operations",
        "choice": choice,
        "group": fingerprint and groups.row_of(database, fingerprint),
        "count": Count(number, is_more=choice.number > MAX_COUNTED),
        "things": THINGS[choice.verb][number != 1],
        "effect": EFFECTS[choice.verb],
        "nothing": NOTHING[choice.verb],
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
        return show(request, template, lambda db: _asked(db, choice, form), live=False)
    wanted = form.cleaned_data
    options: dict[str, Any] = {"reason": wanted["reason"], "by": request.user}
    options["rate"] = wanted["rate"] or None
    if choice.verb != "discard":
        options["canary"] = wanted["canary"]
    try:
        operation = STARTS[choice.verb](choice.selection, **options)
    except (
        ValueError
    ) as error:  # what was possible when it was asked for is not any more
        return refused(request, error, address(request, "operations"))
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
            "words": found.selection.words_for(found.kind),
            "over": found.done + found.failed + found.skipped,
            "commands": {verb: lines.tracking(pk, verb) for verb in verbs},
        }

    return show(request, "operation.html", read)


def _page_of(request: HttpRequest, pk: uuid.UUID) -> str:
    return address(request, "operation", pk)


@changing(_page_of)
def cancel(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Leave what the operation has not reached as it is."""
    return _steer(request, pk, Operation.cancel)


@changing(_page_of)
def resume(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Go on with an operation that was stopped."""
    return _steer(request, pk, Operation.resume)


def _steer(
    request: HttpRequest, pk: uuid.UUID, act: Callable[..., Any]
) -> HttpResponse:
    demand(request, "cancel")
    back = _page_of(request, pk)
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
