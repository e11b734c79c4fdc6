"""Dates, times, durations and time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from signal_tasks.codec.protocols import Read, Reader, Write, Writer
from signal_tasks.codec.refusal import Refused


def write_date(value: date, writer: Writer) -> object:
    """Write a date."""
    return {"$date": value.isoformat()}


def read_date(data: str, reader: Reader) -> date:
    """Read a date."""
    return date.fromisoformat(data)


def write_datetime(value: datetime, writer: Writer) -> object:
    """Write a datetime: as one string if it is naive or in UTC, else with its zone."""
    if not value.fold and (value.tzinfo is UTC or value.tzinfo is None):
        return _iso("$datetime", value)
    return _zoned("$datetime", value, writer)


def write_time(value: time, writer: Writer) -> object:
    """Write a time in the same way as a datetime."""
    if not value.fold and value.tzinfo is None:
        return _iso("$time", value)
    return _zoned("$time", value, writer)


def _iso(tag: str, value: datetime | time) -> object:
    return {tag: value.isoformat()}


def _zoned(tag: str, value: datetime | time, writer: Writer) -> object:
    zone = writer.write_at(".tzinfo", value.tzinfo)
    return {tag: [value.replace(tzinfo=None).isoformat(), zone, value.fold]}


def read_datetime(data: Any, reader: Reader) -> datetime:
    """Read a datetime with the zone it had."""
    if isinstance(data, str):
        return datetime.fromisoformat(data)
    text, zone, fold = data
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def read_time(data: Any, reader: Reader) -> time:
    """Read a time with the zone it had."""
    if isinstance(data, str):
        return time.fromisoformat(data)
    text, zone, fold = data
    return time.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def write_timedelta(value: timedelta, writer: Writer) -> object:
    """Write a timedelta as integers, so that it stays exact."""
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


def read_timedelta(data: list[int], reader: Reader) -> timedelta:
    """Read a timedelta."""
    return timedelta(*data)


def write_timezone(value: timezone, writer: Writer) -> object:
    """Write a fixed offset, and its name if it was given one."""
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return {"$timezone": [writer.write(offset), *map(writer.write, name)]}


def read_timezone(data: list[Any], reader: Reader) -> timezone:
    """Read a fixed offset."""
    return timezone(*data)


def write_zoneinfo(value: ZoneInfo, writer: Writer) -> object:
    """Write the key of a zone."""
    if value.key is None:
        raise Refused("a ZoneInfo made from a file has no key to find it by")
    return {"$zoneinfo": value.key}


def read_zoneinfo(data: str, reader: Reader) -> ZoneInfo:
    """Read a zone."""
    return ZoneInfo(data)


WRITERS: dict[type, Write] = {
    date: write_date,
    datetime: write_datetime,
    time: write_time,
    timedelta: write_timedelta,
    timezone: write_timezone,
    ZoneInfo: write_zoneinfo,
}

READERS: dict[str, Read] = {
    "$date": read_date,
    "$datetime": read_datetime,
    "$time": read_time,
    "$timedelta": read_timedelta,
    "$timezone": read_timezone,
    "$zoneinfo": read_zoneinfo,
}
