"""Read ``Retry-After`` from the responses of ``requests``, ``httpx`` and their like."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


def retry_after(response: Any, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a response asks to wait, for ``Retry(after=...)``.

    None if it has no such header, or one that says nothing; never negative.

    Args:
        response: anything with ``headers``, a mapping that ignores case.
        now: aware time from which a date is counted; by default this computer's.
    """
    text = str(response.headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if until.tzinfo is None:  # "-0000": UTC, of a server that names no zone
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
