"""Signals and receivers: the catalogue, the page of one, and its controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from signal_tasks import operations
from signal_tasks.dashboard.access import changing, demand, page
from signal_tasks.dashboard.forms import ControlForm
from signal_tasks.dashboard.rendering import address, refused, show
from signal_tasks.operations import ControlInForce
from signal_tasks.registry.naming import is_storable
from signal_tasks.reports import groups, history, lines
from signal_tasks.reports import receivers as reports
from signal_tasks.reports.moments import word
from signal_tasks.selection import Selection
from signal_tasks.steering.targets import targets_of

#: The permission that each verb needs.
NEEDS = {"pause": "pause", "resume": "pause", "limit": "limit", "clear": "limit"}


@page
def catalogue(request: HttpRequest) -> HttpResponse:
    """Show the signals of this process, who listens, and how."""

    def read(database: str) -> Mapping[str, Any]:
        wanted = str(request.GET.get("search", "")).strip()
        return {
            "section": "receivers",
            "signals": list(_described(wanted.lower())),
            "search": wanted,
            "controls": operations.controls(database=database),
        }

    return show(request, "catalogue.html", read)


def _described(wanted: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield signals whose name, or a receiver of which, contains the text."""
    for signal, receivers in operations.describe_signals().items():
        names = [signal, *(each["name"] for each in receivers)]
        if any(wanted in name.lower() for name in names):
            yield signal, [_line(each) for each in receivers]


def _line(described: dict[str, Any]) -> dict[str, Any]:
    plain = {name: described[name] for name in described if name not in APART}
    options = {name: value for name, value in plain.items() if value != PLAIN.get(name)}
    retry = described["retry"] or {}
    return {
        "name": described["name"],
        "aliases": described["aliases"],
        "options": {name: _text(value) for name, value in options.items()},
        "retry": {name: _text(value) for name, value in retry.items()},
        "source": reports.source_of(described["name"]),
    }


#: What is shown apart, and what an option is unless somebody sets it.
APART = ("name", "aliases", "retry")
PLAIN = {
    "atomic": True,
    "on_missing": "reject",
    "group_commit": True,
    "ordered": False,
    "on_dead": "block",
}


def _text(value: object) -> str:
    """Return the value of an option as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {fact}" for name, fact in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@page
def receiver(request: HttpRequest, name: str) -> HttpResponse:
    """Show what a receiver has to do, what fails, and what holds it."""
    if "\0" in name:
        raise Http404("No receiver has such a name.")

    def read(database: str) -> Mapping[str, Any]:
        found = reports.receiver(database, name)
        span = history.span_of(request.GET)
        return {
            "section": "receivers",
            "receiver": found,
            "options": _options_of(name),
            "groups": groups.groups(database, groups.GroupFilter(), [name]),
            "chart": history.chart(database, span, name),
            "figures": history.figures_of(database, name, span),
            "spans": list(history.SPANS),
            "controls": list(_controls_of(found, database)),
            "target": f"receiver:{name}",
            "commands": _commands(name),
        }

    return show(request, "receiver.html", read)


def _options_of(name: str) -> Mapping[str, str]:
    """Return the options that differ from the usual, and the retry policy."""
    for receivers in operations.describe_signals().values():
        for each in receivers:
            if each["name"] == name:
                line = _line(each)
                retry = _said(line["retry"]).items()
                policy = ", ".join(f"{option} {value}" for option, value in retry)
                return _said({**line["options"], "retry": policy})
    return {}


def _said(options: Mapping[str, str]) -> dict[str, str]:
    """Leave out what is not set."""
    unset = ("", "None")
    return {name: value for name, value in options.items() if value not in unset}


def _controls_of(
    found: reports.ReceiverReport, database: str
) -> Iterator[ControlInForce]:
    targets = {f"receiver:{found.name}", "*"}
    targets |= {f"signal:{name}" for name in found.signals}
    if found.receiver is not None:
        targets |= set(targets_of(found.receiver))
    every = operations.controls(database=database)
    yield from (each for each in every if each.target in targets)


def _commands(name: str) -> Mapping[str, str]:
    target = f"receiver:{name}"
    dead = Selection(receiver=name, state="dead")
    commands = {verb: lines.steering(verb, target) for verb in NEEDS}
    commands["limit"] = lines.steering("limit", target, rate="100/m")
    commands["replay"] = lines.changing("replay", dead)
    commands["discard"] = lines.changing("discard", dead)
    commands["backfill"] = lines.backfilling(name)
    return commands


def _page_of(request: HttpRequest) -> str:
    """Return the page of the target, which the address of the form names, too."""
    given = request.POST or request.GET
    kind, _, name = word(given.get("target")).partition(":")
    if kind == "receiver" and is_storable(name):
        return address(request, "receiver", name)
    return address(request, "receivers")


@changing(_page_of)
def control(request: HttpRequest) -> HttpResponse:
    """Pause, resume, limit or clear a target."""
    form = ControlForm(request.POST)
    is_valid = form.is_valid()
    verb = form.cleaned_data.get("verb") or "pause"
    demand(request, NEEDS[verb])
    back = _page_of(request)
    if not is_valid:
        return refused(request, form, back)
    try:
        ACTS[verb](form.cleaned_data["target"], form.cleaned_data, request.user)
    except (ValueError, TypeError, LookupError, operations.NotInForce) as error:
        return refused(request, error, back)
    return redirect(back)


def _pause(target: str, given: Mapping[str, Any], user: Any) -> None:
    operations.pause(target, until=given["until"], reason=given["reason"], by=user)


def _limit(target: str, given: Mapping[str, Any], user: Any) -> None:
    operations.limit(
        target,
        rate=given["rate"] or None,
        max_concurrency=given["max_concurrency"],
        until=given["until"],
        reason=given["reason"],
        by=user,
    )


ACTS: dict[str, Callable[[str, Mapping[str, Any], Any], object]] = {
    "pause": _pause,
    "limit": _limit,
    "resume": lambda target, _, user: operations.resume(target, by=user),
    "clear": lambda target, _, user: operations.clear(target, by=user),
}
