"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import getpass
import os
import uuid
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.utils import timezone

from signal_tasks.commands import names, times
from signal_tasks.commands.verb import Given
from signal_tasks.operations import Selection
from signal_tasks.registry.naming import check_name
from signal_tasks.selection import moment
from signal_tasks.states import Reason, State
from signal_tasks.validation import MAX_SECONDS

#: Most rows that a list prints, unless ``--limit`` says otherwise.
LIMIT = 50


def as_json(parser: ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def limited(parser: ArgumentParser) -> None:
    """Add ``--limit``."""
    parser.add_argument(
        "--limit",
        type=_count,
        default=LIMIT,
        metavar="N",
        help=f"print at most so many ({LIMIT})",
    )


def filters(parser: ArgumentParser) -> None:
    """Add what restricts deliveries, all of which have to match."""
    _filters(parser)


def selection(parser: ArgumentParser) -> None:
    """Add what selects the deliveries that a verb changes."""
    add = _filters(parser)
    add("--state", choices=State.values, help="in this state")
    add("--group", metavar="FINGERPRINT", help="dead letters of this failure group")
    add("--all", action="store_true", help="without any restriction")
    parser.add_argument("--dry-run", action="store_true", help="only count them")


def _filters(parser: ArgumentParser) -> Callable[..., Any]:
    """Add the filters; return what adds more to their group."""
    parser.add_argument("id", nargs="*", type=uuid.UUID, help="ids of deliveries")
    add = parser.add_argument_group("selection").add_argument
    add("--receiver", type=name, metavar="NAME", help="to this receiver")
    add("--signal", type=name, metavar="NAME", help="of this signal")
    add("--reason", choices=Reason.values, help="that are dead for this reason")
    add("--error", metavar="TEXT", help="whose last failure contains this text")
    add("--subject", metavar="APP.MODEL:PK", help="whose event is about this object")
    since = "that finished, or else were sent, since then: a time, or an age as 2h"
    add("--since", type=times.ago, metavar="TIME", help=since)
    add("--until", type=times.ago, metavar="TIME", help="the same, before then")
    return add


def signed(parser: ArgumentParser) -> None:
    """Add who acts, for the audit trail."""
    parser.add_argument("--by", metavar="NAME", help="who does it (default: you)")


def explained(parser: ArgumentParser) -> None:
    """Add who acts, and why."""
    signed(parser)
    names = ("--because", "--reason")
    text = "why, for the audit trail"
    parser.add_argument(*names, dest="because", default="", metavar="TEXT", help=text)


def selecting(parser: ArgumentParser) -> None:
    """Add who acts, and why, where ``--reason`` selects deliveries."""
    signed(parser)
    text = "why, for the audit trail"
    parser.add_argument("--because", default="", metavar="TEXT", help=text)


def pace(parser: ArgumentParser) -> None:
    """Add how fast an operation goes."""
    add = parser.add_argument
    add("--rate", metavar="RATE", help='deliveries a second, or as "100/m"')
    add(
        "--canary",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="go in growing steps, each after the success of the last one "
        "(default: above 100 deliveries)",
    )


def waiting(parser: ArgumentParser) -> None:
    """Add whether to wait for an operation."""
    add = parser.add_argument
    add("--wait", action="store_true", help="until it is finished; exit 1 if it failed")
    add("--timeout", type=float, metavar="SECONDS", help="wait no longer")


def name(text: str) -> str:
    """Return the name, or refuse what no row can hold, such as an empty variable."""
    try:
        check_name(text)
    except ImproperlyConfigured as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def seconds(text: str) -> float:
    """Return a number of seconds above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def act(given: Given) -> dict[str, str]:
    """Return who acts and why, as ``operations`` takes them."""
    return {"by": author(given), "reason": given["because"]}


def author(given: Given) -> str:
    """Return who acts: ``--by``, or the user of the operating system."""
    if given["by"]:
        return str(given["by"])
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container without a user database
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def selected(given: Given) -> Selection:
    """Return what was selected; refuse names that nobody knows."""
    with refusals():
        chosen = Selection(
            ids=tuple(given["id"]),
            receiver=given["receiver"],
            signal=given["signal"],
            state=given["state"],
            reason=given["reason"],
            fingerprint=given["group"],
            subject=given["subject"],
            since=given["since"],
            until=given["until"],
            error=given["error"],
        )
    names.check(chosen)
    _refuse_reversed(chosen)
    return chosen


def _refuse_reversed(chosen: Selection) -> None:
    """Refuse a time that ends before it begins: it would select nothing, silently."""
    now = timezone.now()
    since, until = moment(chosen.since, now), moment(chosen.until, now)
    if since and until and until < since:
        raise CommandError("--until is before --since: swap them")


def restricted(given: Given) -> Selection:
    """Return what was selected; refuse everything, unless ``--all`` says so."""
    chosen = selected(given)
    if chosen.is_empty and not given["all"]:
        raise CommandError(
            "Which deliveries? Give ids, --receiver, --group or another restriction "
            "(see --help), or --all."
        )
    return chosen


@contextmanager
def refusals() -> Iterator[None]:
    """Say what ``operations`` refuses, without a traceback."""
    try:
        yield
    except (KeyError, IndexError):  # a mistake of ours, and no refusal
        raise
    except (ValueError, LookupError) as error:
        raise CommandError(str(error)) from error
