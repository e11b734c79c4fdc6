"""Values that contain no other values, except dates: how to write and read each."""

from __future__ import annotations

import ipaddress
import math
import pathlib
from base64 import b64decode, b64encode
from decimal import Decimal
from fractions import Fraction
from types import NoneType
from typing import Any
from uuid import UUID

from django.utils.safestring import SafeString

from signal_tasks.codec.protocols import Read, Reader, Write, Writer

# All JSON readers keep these. Larger ones are hexadecimal, which Python reads without
# a limit of digits.
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1

# Types whose text makes an equal value, by the name that stands in payloads.
_FROM_TEXT: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
        ipaddress.IPv4Interface,
        ipaddress.IPv6Interface,
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        pathlib.PosixPath,
        pathlib.WindowsPath,
    )
}


def write_plain(value: Any, writer: Writer) -> object:
    """Return None or a bool unchanged: JSON has them."""
    return value


def write_str(value: str, writer: Writer) -> object:
    """Write a string; tag one with surrogates, since JSON would join two of them."""
    writer.spend(len(value))
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"$str": _base64(value.encode("utf-8", "surrogatepass"))}
    return value


def read_str(data: str, reader: Reader) -> str:
    """Read a string with surrogates."""
    return b64decode(data).decode("utf-8", "surrogatepass")


def write_safe(value: SafeString, writer: Writer) -> object:
    """Write markup that is marked as safe."""
    return {"$safe": writer.write(str.__str__(value))}


def read_safe(data: str, reader: Reader) -> SafeString:
    """Read markup that is marked as safe."""
    return SafeString(data)


def write_int(value: int, writer: Writer) -> object:
    """Write an integer of any size."""
    if _INT_MIN <= value <= _INT_MAX:
        return value
    writer.spend(value.bit_length() // 4)
    return {"$int": hex(value)}


def read_int(data: str, reader: Reader) -> int:
    """Read an integer that is too large for other readers of JSON."""
    return int(data, 16)


def write_float(value: float, writer: Writer) -> object:
    """Write a float; tag nan and the infinities, which JSON does not have."""
    return value if math.isfinite(value) else {"$float": repr(value)}


def read_float(data: str, reader: Reader) -> float:
    """Read a nan or an infinity."""
    return float(data)


def _base64(data: bytes | bytearray) -> str:
    return b64encode(data).decode()


def write_bytes(value: bytes, writer: Writer) -> object:
    """Write bytes in base64."""
    writer.spend(len(value))
    return {"$bytes": _base64(value)}


def read_bytes(data: str, reader: Reader) -> bytes:
    """Read bytes."""
    return b64decode(data)


def write_bytearray(value: bytearray, writer: Writer) -> object:
    """Write a bytearray in base64."""
    writer.spend(len(value))
    return {"$bytearray": _base64(value)}


def read_bytearray(data: str, reader: Reader) -> bytearray:
    """Read a bytearray."""
    return bytearray(b64decode(data))


def write_decimal(value: Decimal, writer: Writer) -> object:
    """Write a Decimal as text, which keeps its sign, exponent and kind of NaN."""
    text = str(value)
    writer.spend(len(text))
    return {"$decimal": text}


def read_decimal(data: str, reader: Reader) -> Decimal:
    """Read a Decimal."""
    return Decimal(data)


def write_fraction(value: Fraction, writer: Writer) -> object:
    """Write a Fraction as its two integers."""
    return {
        "$fraction": [writer.write(value.numerator), writer.write(value.denominator)]
    }


def read_fraction(data: list[int], reader: Reader) -> Fraction:
    """Read a Fraction."""
    return Fraction(*data)


def write_uuid(value: UUID, writer: Writer) -> object:
    """Write a UUID."""
    return {"$uuid": value.hex}


def read_uuid(data: str, reader: Reader) -> UUID:
    """Read a UUID."""
    return UUID(data)


def write_text(value: object, writer: Writer) -> object:
    """Write the name of the type and the text of the value."""
    return {"$text": [type(value).__name__, writer.write(str(value))]}


def read_text(data: list[str], reader: Reader) -> object:
    """Read a value that its text makes."""
    name, text = data
    return _FROM_TEXT[name](text)


WRITERS: dict[type, Write] = {
    NoneType: write_plain,
    bool: write_plain,
    str: write_str,
    SafeString: write_safe,
    int: write_int,
    float: write_float,
    bytes: write_bytes,
    bytearray: write_bytearray,
    Decimal: write_decimal,
    Fraction: write_fraction,
    UUID: write_uuid,
    **dict.fromkeys(_FROM_TEXT.values(), write_text),
}

READERS: dict[str, Read] = {
    "$str": read_str,
    "$safe": read_safe,
    "$int": read_int,
    "$float": read_float,
    "$bytes": read_bytes,
    "$bytearray": read_bytearray,
    "$decimal": read_decimal,
    "$fraction": read_fraction,
    "$uuid": read_uuid,
    "$text": read_text,
}
