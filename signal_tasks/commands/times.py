"""Read times from the command line: a moment, or an age such as ``2h``."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from signal_tasks.validation import MAX_SECONDS

AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
WANTED = "give 30s, 15m, 2h, 1d, 1w, or a time such as 2026-03-31T14:00+02:00"


def ago(text: str) -> datetime | timedelta:
    """Return a moment, or how long ago it was."""
    return _length(text) or _moment(text)


def ahead(text: str) -> datetime | timedelta:
    """Return a moment that has not come yet, or how long it is until then."""
    length = _length(text)
    if length is not None:
        return length
    time = _moment(text)
    if time <= timezone.now():
        raise ArgumentTypeError(f"{text!r} is over already; {WANTED}")
    return time


def _length(text: str) -> timedelta | None:
    found = AGE.fullmatch(text.strip())
    if found is None:
        return None
    seconds = float(found[1]) * SECONDS[found[2]]
    if not 0 < seconds <= MAX_SECONDS:
        raise ArgumentTypeError(f"{text!r} is no length of time that can be used")
    return timedelta(seconds=seconds)


def _moment(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no time; {WANTED}") from error
    if timezone.is_naive(time):
        raise ArgumentTypeError(f"{text!r} has no time zone; {WANTED}")
    return time


def moment(time: datetime | timedelta | None) -> datetime | None:
    """Return a time as a moment."""
    return timezone.now() - time if isinstance(time, timedelta) else time


def shown(moment: datetime | None) -> str:
    """Return a moment to the second, in UTC, or a dash."""
    if moment is None:
        return "-"
    at = moment if timezone.is_naive(moment) else moment.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
