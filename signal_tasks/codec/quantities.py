"""Scalars of numpy, ranges of psycopg, money of py-moneyed and django-money.

Also the two classes that freezegun puts in the place of Python's while time stands
still: their values are dates and datetimes, and arrive as such.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from signal_tasks.codec.classes import name_of
from signal_tasks.codec.dates import write_date, write_datetime
from signal_tasks.codec.externals import External, derived_class, is_a
from signal_tasks.codec.protocols import Read, Reader, Write, Writer
from signal_tasks.codec.refusal import Refused, one

DTYPE = External("numpy", "dtype")
INT64 = External("numpy", "int64")
SCALAR = External("numpy", "generic")
RANGES = (
    External("psycopg.types.range", "Range"),
    External("psycopg2.extras", "Range"),
)
# These two classes only: a subclass may have another constructor.
MONEY = {
    "moneyed": External("moneyed", "Money"),
    "djmoney": External("djmoney.money", "Money"),
}
CURRENCY = External("moneyed", "Currency")
GET_CURRENCY = External("moneyed", "get_currency")
NO_CURRENCY = External("moneyed", "CurrencyDoesNotExist")
FROZEN: dict[External, Write] = {
    External("freezegun.api", "FakeDatetime"): write_datetime,
    External("freezegun.api", "FakeDate"): write_date,
}


def writer_for(kind: type) -> Write | None:
    """Return the function that writes values of this class, if it is one of these."""
    for frozen, write in FROZEN.items():
        if kind is frozen.imported():
            return write
    for package, money in MONEY.items():
        if kind is money.imported():
            return partial(write_money, package)
    if kind is CURRENCY.imported():
        return write_currency
    if any(is_a(kind, base) for base in RANGES):
        return write_range
    return write_numpy if is_a(kind, SCALAR) else None


def write_numpy(value: Any, writer: Writer) -> object:
    """Write the type of a numpy scalar and the equal value of Python."""
    kind: Any = type(value)
    if value.dtype.kind in "mM":
        # As an integer in its unit: Python has no nanoseconds.
        return {"$numpy": [value.dtype.name, int(value.astype("int64"))]}
    item = value.item()
    is_known = kind is getattr(sys.modules["numpy"], kind.__name__, None)
    if not is_known or type(item) not in (bool, int, float, str, bytes):
        raise Refused(
            f"{one(kind)} cannot travel; send value.item() if that can, "
            "or teach its type with signal_tasks.register_type()"
        )
    return {"$numpy": [kind.__name__, writer.write(item)]}


def read_numpy(data: list[Any], reader: Reader) -> object:
    """Read a numpy scalar."""
    name, item = data
    dtype = DTYPE.load()(name)
    if dtype.kind in "mM":
        return INT64.load()(item).view(dtype)
    return dtype.type(item)


def write_range(value: Any, writer: Writer) -> object:
    """Write the class of a range of psycopg, its two ends and its bounds."""
    ends = writer.write_each(value, [value.lower, value.upper], lambda i: _ENDS[i])
    kind: Any = type(value)
    bounds = value._bounds  # noqa: SLF001 - psycopg2 has no public name for it
    return {"$range": [name_of(kind), *ends, bounds]}


_ENDS = (".lower", ".upper")


def read_range(data: list[Any], reader: Reader) -> object:
    """Read a range."""
    name, lower, upper, bounds = data
    kind: Any = derived_class(name, *RANGES)
    return kind(lower, upper, bounds) if bounds else kind(empty=True)


def write_money(package: str, value: Any, writer: Writer) -> object:
    """Write amount and currency, and the decimal places that django-money shows."""
    amount = writer.write_at(".amount", value.amount)
    currency = writer.write_at(".currency", value.currency)
    places = getattr(value, "decimal_places", None)
    return {"$money": [package, amount, currency, places]}


def read_money(data: list[Any], reader: Reader) -> object:
    """Read an amount of money."""
    package, amount, currency, places = data
    made = MONEY[package].load()(amount, currency)
    if places is not None:
        made.decimal_places = places
    return made


def write_currency(value: Any, writer: Writer) -> object:
    """Write the code of a currency, which must lead back to it."""
    try:
        known = GET_CURRENCY.imported()(value.code)
    except NO_CURRENCY.imported():
        known = None
    if known != value:
        raise Refused(f"moneyed knows no currency {value.code!r}; add it there first")
    return {"$currency": writer.write(value.code)}


def read_currency(data: str, reader: Reader) -> object:
    """Read a currency."""
    try:
        return GET_CURRENCY.load()(data)
    except NO_CURRENCY.load():
        raise LookupError(f"moneyed knows no currency {data!r}") from None


READERS: dict[str, Read] = {
    "$numpy": read_numpy,
    "$range": read_range,
    "$money": read_money,
    "$currency": read_currency,
}
