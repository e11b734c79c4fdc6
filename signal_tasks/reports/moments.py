"""Moments and ids from a URL: what makes no sense is none."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.utils import timezone
from django.utils.dateparse import parse_datetime

#: Years that every database and every time zone can hold.
YEARS = range(1970, 9999)


def moment(text: object) -> datetime | None:
    """Return a moment, in the time zone of the page unless it has one, or None."""
    try:
        found = parse_datetime(str(text or "").strip())
    except ValueError:
        return None
    if found is None or found.year not in YEARS:
        return None
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def id_of(text: object) -> uuid.UUID | None:
    """Return an id, or None."""
    try:
        return uuid.UUID(str(text or ""))
    except ValueError:
        return None


def word(text: object) -> str:
    """Return a text that every database can look for."""
    return str(text or "").strip().replace("\0", "")
