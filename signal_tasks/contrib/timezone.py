"""Carry the current time zone of the sender to its receivers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta, tzinfo
from datetime import timezone as fixed_offset
from zoneinfo import ZoneInfo

from django.utils import timezone


class TimeZone:
    """The current time zone, as in ``django.utils.timezone``."""

    name = "timezone"

    def capture(self) -> str | float:
        """Return the key of the time zone, or the seconds of a fixed offset.

        Raises:
            TypeError: the time zone has neither.
        """
        current = timezone.get_current_timezone()
        key = getattr(current, "key", None) or getattr(current, "zone", None)
        if isinstance(key, str):
            return key
        offset = current.utcoffset(None)
        if offset is None:
            raise TypeError(
                f"The time zone {current!r} has no name that a worker could know; "
                "activate a zoneinfo.ZoneInfo."
            )
        return offset.total_seconds()

    def restore(self, value: str | float) -> AbstractContextManager[None]:
        """Make the time zone current."""
        return timezone.override(_zone(value))


def _zone(value: str | float) -> tzinfo:
    if isinstance(value, str):
        return ZoneInfo(value)
    return fixed_offset(timedelta(seconds=value))
