"""Values of every type that travels, and what makes two of them the same."""

from __future__ import annotations

import pathlib
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum, auto
from ipaddress import ip_interface, ip_network
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from django.db import models
from hypothesis import strategies as st

from signal_tasks.codec import decode, encode
from signal_tasks.exceptions import PayloadError

LIMIT = 262_144
BERLIN = ZoneInfo("Europe/Berlin")


class Plain(Enum):
    """Members of values that would not travel by themselves."""

    OPAQUE = object()
    PAIR = (1, 2)


class Number(IntEnum):
    ONE = 1
    UNO = 1


class Word(StrEnum):
    YES = "yes"


class Status(models.TextChoices):
    NEW = "new", "New"


class Right(Flag):
    READ = auto()
    WRITE = auto()


class Bit(IntFlag):
    LOW = 1


class Outer:
    class Nested(Enum):
        INNER = 1


@dataclass
class Line:
    sku: Any
    count: Any = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    amount: Decimal
    total: Decimal = field(init=False)
    notes: list[object] = field(default_factory=list)
    rate: InitVar[int] = 2
    unit: ClassVar[str] = "EUR"

    def __post_init__(self, rate: int) -> None:
        object.__setattr__(self, "total", self.amount * rate)


class Point(NamedTuple):
    x: Any
    y: Any = 0


Pair = namedtuple("Pair", "left right")  # the untyped kind travels too


class Money:
    def __init__(self, amount: Any) -> None:
        self.amount = amount


class Opaque:
    """Code of it that runs is an error."""

    def __repr__(self) -> str:
        raise AssertionError("the codec ran code of a value")

    __str__ = __eq__ = __hash__ = __bool__ = __len__ = __repr__  # type: ignore[assignment]


def sent(value: object) -> str:
    return encode("order_confirmed", None, {"value": value}, max_bytes=LIMIT)


def arrived(value: object) -> Any:
    return decode(sent(value)).kwargs["value"]


def refusal(value: object) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        sent(value)
    return caught.value


def _each(value: Any) -> object:
    return [identity(item) for item in value]


def _unordered(value: Any) -> object:
    return sorted(repr(identity(item)) for item in value)


def _pairs(value: Any) -> object:
    return _each(value.items())


def _moment(value: Any) -> object:
    return value.isoformat(), value.fold, identity(value.tzinfo)


def _fields(value: Any) -> object:
    return [identity(getattr(value, name)) for name in type(value).__match_args__]


_PARTS: dict[type, Callable[[Any], object]] = {
    int: hex,
    float: repr,  # tells -0.0 from 0.0; the sign of a nan means nothing
    Decimal: Decimal.as_tuple,
    datetime: _moment,
    time: _moment,
    ZoneInfo: lambda value: value.key,
    timezone: lambda value: value.__getinitargs__(),
    list: _each,
    tuple: _each,
    Point: _each,
    Pair: _each,
    set: _unordered,
    frozenset: _unordered,
    dict: _pairs,
    OrderedDict: _pairs,
    Counter: _pairs,
    defaultdict: lambda value: (value.default_factory, _pairs(value)),
    deque: lambda value: (value.maxlen, _each(value)),
    Line: _fields,
    Price: lambda value: _each([value.amount, value.total, value.notes]),
}


def identity(value: object) -> object:
    """What two values share exactly if they are the same, type and all."""
    kind = type(value)
    return kind, _PARTS[kind](value) if kind in _PARTS else value


any_text = st.text(st.characters())
zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from([BERLIN, ZoneInfo("UTC"), ZoneInfo("America/Sao_Paulo")]),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
    st.just(timezone(timedelta(hours=1), "CET")),
)
members = st.sampled_from(
    [
        *Plain,
        *Number,
        *Word,
        *Status,
        *Outer.Nested,
        Right(0),
        Right.READ,
        Right.READ | Right.WRITE,
        Bit.LOW,
        Bit(9),
    ]
)
# A path keeps no "." and no repeated separators, so each part is a plain word.
paths = st.builds(
    lambda kind, words: kind(*words),
    st.sampled_from([pathlib.Path, pathlib.PurePosixPath, pathlib.PureWindowsPath]),
    st.lists(st.sampled_from(["/", "c:", "a b", "..", "ä", "\udcff", "~"])),
)
hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    any_text,
    st.binary(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.times(timezones=zones),
    st.timedeltas(),
    st.uuids(),
    st.fractions(),
    st.ip_addresses(),
    st.ip_addresses(v=4).map(lambda address: ip_network(f"{address}/32")),
    st.ip_addresses(v=6).map(lambda address: ip_interface(f"{address}/64")),
    paths,
    zones,
    members,
    st.sampled_from([Money, Opaque, Outer.Nested, int, Line]),
)
keys = hashables | st.tuples(hashables, hashables) | st.frozensets(hashables)
leaves = hashables | st.decimals() | st.binary().map(bytearray)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.sets(keys),
        st.frozensets(keys),
        st.dictionaries(any_text, inner),
        st.dictionaries(keys, inner),
        st.dictionaries(keys, inner).map(OrderedDict),
        st.dictionaries(keys, inner).map(Counter),
        st.builds(
            defaultdict,
            st.sampled_from([None, list, int, Line]),
            st.dictionaries(keys, inner),
        ),
        st.builds(deque, st.lists(inner), st.none() | st.integers(0, 3)),
        st.dictionaries(st.just("$decimal") | st.text("$a"), inner),
        st.builds(Line, inner, inner),
        st.builds(Price, amount=st.decimals(allow_nan=False), notes=st.lists(inner)),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
    )


values = st.recursive(leaves, _containers, max_leaves=20)
