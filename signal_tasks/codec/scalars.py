"""Values that hold no other values: how each is written, and read again."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.utils.safestring import SafeString

from signal_tasks.codec.refusal import Refused

if TYPE_CHECKING:
    from signal_tasks.codec.reader import Read, Reader
    from signal_tasks.codec.writer import Write, Writer

# What every JSON reader and writer keeps; beyond it, hexadecimal has no limit of digits.
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def write_plain(value: Any, writer: Writer) -> object:
    """None and bool are what they are in JSON."""
    return value


def write_str(value: str, writer: Writer) -> object:
    """A string; one with surrogates apart, since JSON would join two of them."""
    writer.spend(len(value))
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"$str": _base64(value.encode("utf-8", "surrogatepass"))}
    return value


def read_str(data: str, reader: Reader) -> str:
    """A string with surrogates."""
    return b64decode(data).decode("utf-8", "surrogatepass")


def write_int(value: int, writer: Writer) -> object:
    """An integer of any size."""
    if _INT_MIN <= value <= _INT_MAX:
        return value
    writer.spend(value.bit_length() // 4)
    return {"$int": hex(value)}


def read_int(data: str, reader: Reader) -> int:
    """An integer that was too large for other readers of JSON."""
    return int(data, 16)


def write_float(value: float, writer: Writer) -> object:
    """A float; JSON has no word for nan and the infinities."""
    return value if math.isfinite(value) else {"$float": repr(value)}


def read_float(data: str, reader: Reader) -> float:
    """A nan or an infinity."""
    return float(data)


def _base64(data: bytes | bytearray) -> str:
    return b64encode(data).decode()


def write_bytes(value: bytes, writer: Writer) -> object:
    """Bytes, in base64."""
    writer.spend(len(value))
    return {"$bytes": _base64(value)}


def read_bytes(data: str, reader: Reader) -> bytes:
    """Bytes."""
    return b64decode(data)


def write_bytearray(value: bytearray, writer: Writer) -> object:
    """A bytearray, in base64."""
    writer.spend(len(value))
    return {"$bytearray": _base64(value)}


def read_bytearray(data: str, reader: Reader) -> bytearray:
    """A bytearray."""
    return bytearray(b64decode(data))


def write_decimal(value: Decimal, writer: Writer) -> object:
    """A Decimal: its text keeps sign, exponent and kind of NaN."""
    text = str(value)
    writer.spend(len(text))
    return {"$decimal": text}


def read_decimal(data: str, reader: Reader) -> Decimal:
    """A Decimal."""
    return Decimal(data)


def write_date(value: date, writer: Writer) -> object:
    """A date."""
    return {"$date": value.isoformat()}


def read_date(data: str, reader: Reader) -> date:
    """A date."""
    return date.fromisoformat(data)


def write_datetime(value: datetime, writer: Writer) -> object:
    """A datetime: naive and UTC in one string, else with its zone as a value."""
    if not value.fold and (value.tzinfo is UTC or value.tzinfo is None):
        return _iso("$datetime", value)
    return _zoned("$datetime", value, writer)


def write_time(value: time, writer: Writer) -> object:
    """A time, in the manner of a datetime."""
    if not value.fold and value.tzinfo is None:
        return _iso("$time", value)
    return _zoned("$time", value, writer)


def _iso(tag: str, value: datetime | time) -> object:
    return {tag: value.isoformat()}


def _zoned(tag: str, value: datetime | time, writer: Writer) -> object:
    zone = writer.write_at(".tzinfo", value.tzinfo)
    return {tag: [value.replace(tzinfo=None).isoformat(), zone, value.fold]}


def read_datetime(data: Any, reader: Reader) -> datetime:
    """A datetime with the zone it had."""
    if isinstance(data, str):
        return datetime.fromisoformat(data)
    text, zone, fold = data
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def read_time(data: Any, reader: Reader) -> time:
    """A time with the zone it had."""
    if isinstance(data, str):
        return time.fromisoformat(data)
    text, zone, fold = data
    return time.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def write_timedelta(value: timedelta, writer: Writer) -> object:
    """A timedelta, exact."""
    return {"$timedelta": [value.days, value.seconds, value.microseconds]}


def read_timedelta(data: list[int], reader: Reader) -> timedelta:
    """A timedelta."""
    return timedelta(*data)


def write_timezone(value: timezone, writer: Writer) -> object:
    """A fixed offset, with its name where it was given one."""
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return {"$timezone": [writer.write(offset), *map(writer.write, name)]}


def read_timezone(data: list[Any], reader: Reader) -> timezone:
    """A fixed offset."""
    return timezone(*data)


def write_zoneinfo(value: ZoneInfo, writer: Writer) -> object:
    """A zone by its key."""
    if value.key is None:
        raise Refused("a ZoneInfo made from a file has no key to find it by")
    return {"$zoneinfo": value.key}


def read_zoneinfo(data: str, reader: Reader) -> ZoneInfo:
    """A zone."""
    return ZoneInfo(data)


def write_uuid(value: UUID, writer: Writer) -> object:
    """A UUID."""
    return {"$uuid": value.hex}


def read_uuid(data: str, reader: Reader) -> UUID:
    """A UUID."""
    return UUID(data)


WRITERS: dict[type, Write] = {
    NoneType: write_plain,
    bool: write_plain,
    str: write_str,
    SafeString: write_str,  # safe for one page of the sender's: arrives as a str
    int: write_int,
    float: write_float,
    bytes: write_bytes,
    bytearray: write_bytearray,
    Decimal: write_decimal,
    date: write_date,
    datetime: write_datetime,
    time: write_time,
    timedelta: write_timedelta,
    timezone: write_timezone,
    ZoneInfo: write_zoneinfo,
    UUID: write_uuid,
}

READERS: dict[str, Read] = {
    "$str": read_str,
    "$int": read_int,
    "$float": read_float,
    "$bytes": read_bytes,
    "$bytearray": read_bytearray,
    "$decimal": read_decimal,
    "$date": read_date,
    "$datetime": read_datetime,
    "$time": read_time,
    "$timedelta": read_timedelta,
    "$timezone": read_timezone,
    "$zoneinfo": read_zoneinfo,
    "$uuid": read_uuid,
}
