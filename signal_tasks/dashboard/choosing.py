"""The selection of the operation dialogue: from the URL, then signed in its form.

The form carries the selection, with the time up to which it counts, and the number that
its reader has seen: what dies meanwhile is not among it.
"""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import BadRequest
from django.core.signing import BadSignature, dumps, loads
from django.http import QueryDict
from django.utils import timezone

from signal_tasks.commands import times
from signal_tasks.reports.moments import YEARS
from signal_tasks.selection import Selection

SALT = "signal_tasks.dashboard.operation"
VERBS = ("replay", "discard", "backfill")
#: Names in the URL, and what each is in a selection.
TEXTS: Mapping[str, str] = {
    "receiver": "receiver",
    "signal": "signal",
    "state": "state",
    "reason": "reason",
    "group": "fingerprint",
    "subject": "subject",
    "error": "error",
}
TIMES = ("since", "until")
#: What a backfill selects by.
OF_EVENTS = ("receiver", "signal")
#: Ids that a URL may name.
MAX_IDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The change that somebody is asked to confirm: a verb, a selection, its number.

    ``number`` is one more than ``bounds.MAX_COUNTED`` if there are more.
    """

    verb: str
    selection: Selection
    number: int

    @property
    def words(self) -> str:
        """The selection, as people read it."""
        return self.selection.words_for(self.verb)

    def signed(self) -> str:
        """Return it as text that only this project can have made."""
        return dumps([self.verb, self.number, self.selection.to_json()], salt=SALT)


def verb_of(query: Mapping[str, Any]) -> str:
    """Return the verb that a URL names."""
    verb = str(query.get("verb", ""))
    if verb not in VERBS:
        raise BadRequest(f"{verb!r} is none of {', '.join(VERBS)}.")
    return verb


def selection_of(query: QueryDict) -> Selection:
    """Return the selection that a URL names, up to now.

    Raises:
        BadRequest: it selects nothing in particular, or makes no sense.
    """
    given: dict[str, Any] = {
        field: query[name] for name, field in TEXTS.items() if query.get(name)
    }
    if ids := query.getlist("id")[:MAX_IDS]:
        given["ids"] = tuple(ids)
    try:
        given |= _times(query)
        selection = Selection(**given)
    except (ValueError, ArgumentTypeError) as error:
        raise BadRequest(str(error)) from error
    if selection.is_empty:
        raise BadRequest("This selects nothing: name a receiver, a group or ids.")
    return _until_now(selection)


def past_events_of(query: QueryDict) -> Selection:
    """Return the past events that a URL names, up to now; they may have no beginning.

    Raises:
        ValueError: it makes no sense.
    """
    given: dict[str, Any] = {name: query[name] for name in OF_EVENTS if query.get(name)}
    try:
        given |= _times(query)
        return _until_now(Selection(**given))
    except ArgumentTypeError as error:
        raise ValueError(str(error)) from error


def _times(query: QueryDict) -> dict[str, Any]:
    return {name: _time(str(query[name])) for name in TIMES if query.get(name)}


def _time(text: str) -> datetime | timedelta:
    time = times.ago(text)
    if isinstance(time, datetime) and time.year not in YEARS:
        raise ValueError(f"{text!r} is too long ago, or too far away")
    return time


def _until_now(selection: Selection) -> Selection:
    """Fix the times; ids alone need none."""
    now: datetime | timedelta = timezone.now()
    fixed = selection.fixed()
    return fixed if fixed.ids or fixed.until else replace(fixed, until=now)


def confirmed(text: str) -> Choice:
    """Return the choice that ``signed`` has written.

    Raises:
        BadRequest: somebody else has written it.
    """
    try:
        verb, number, selection = loads(text, salt=SALT)
    except (BadSignature, ValueError, json.JSONDecodeError) as error:
        raise BadRequest("This selection was not made here.") from error
    return Choice(verb=verb, number=number, selection=Selection.from_json(selection))
