"""What cannot travel is refused where it is sent; what cannot be read is told so."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.files.base import ContentFile
from django.db import models
from django.http import HttpRequest, QueryDict
from django.utils.functional import SimpleLazyObject, lazy
from hypothesis import given
from hypothesis import strategies as st

from signal_tasks.codec import decode, encode
from signal_tasks.exceptions import DecodeError, PayloadError
from tests.signal_tasks.codec.values import (
    BERLIN,
    LIMIT,
    Line,
    Opaque,
    Plain,
    Point,
    Price,
    Right,
    Word,
    arrived,
    refusal,
    sent,
)


@dataclass
class Mapped(dict[str, int]):
    name: str = ""


def _local_dataclass() -> object:
    @dataclass
    class Local:
        x: int = 1

    return Local()


def _local_class() -> type:
    class Local:
        pass

    return Local


def _local_enum() -> object:
    return Enum("Local", "A").A  # type: ignore[attr-defined]


def _numbers() -> Iterator[int]:
    yield 1


async def _waiting() -> None: ...


class Registry(OrderedDict[str, int]):
    pass


class Recent(deque[int]):
    pass


class OwnPath(PurePosixPath):
    pass


class Loud(str):
    __slots__ = ()


class Loose(IntEnum):
    """Makes members up."""

    ONE = 1

    @classmethod
    def _missing_(cls, value: Any) -> Loose:
        made = int.__new__(cls, value)
        made._name_, made._value_ = f"MADE_{value}", value
        return made


REFUSED: list[tuple[Callable[[], object], str]] = [
    (HttpRequest, r'HttpRequest cannot travel; .*exclude=\("request",\)'),
    (_numbers, r"generator cannot travel; send list\(value\)"),
    (lambda: range(3), r"range cannot travel; send list\(value\)"),
    (lambda: {}.keys(), r"dict_keys cannot travel; send list\(value\)"),
    (lambda: map(str, []), r"send list\(value\)"),
    (lambda: len, "code is not sent"),
    (lambda: _numbers, "code is not sent"),
    (lambda: _numbers().__next__, "code is not sent"),
    (lambda: ValueError("no"), r"ValueError cannot travel; send str\(error\)"),
    (lambda: io.BytesIO(b"x"), "send the name of a saved file"),
    (lambda: ContentFile(b"x"), "send the name of a saved file"),
    (lambda: OwnPath("a"), r"send str\(path\)"),
    (lambda: memoryview(b"x"), r"send bytes\(value\)"),
    (lambda: sys, "send its name"),
    (lambda: vars(Plain), r"mappingproxy cannot travel; send dict\(value\)"),
    (lambda: Registry(a=1), r"would arrive as a plain dict; send dict\(value\)"),
    (lambda: defaultdict(lambda: 1), r"default_factory .* send dict\(value\)"),
    (lambda: defaultdict(_local_class()), "define it at the top level of a module"),
    (lambda: Recent([1]), r"Recent cannot travel; .*register_type\(\)"),
    (lambda: QueryDict("a=1"), r"send dict\(value\)"),
    (lambda: Loud("x"), r"as a plain str; send str\(value\), or teach"),
    (lambda: Mapped(), "dataclass with a builtin type as its base"),
    (Opaque, r"Opaque cannot travel; .*register_type\(\)"),
    (object, "an object cannot travel; send its data instead"),
    (lambda: 1j, r"complex cannot travel; .*register_type\(\)"),
    (lambda: lazy(int, int)("1"), "cannot travel"),
    (_local_dataclass, "define it at the top level of a module"),
    (lambda: type(_local_dataclass()), "define it at the top level of a module"),
    (lambda: Loose(2), "MADE_2 is not a member that .*Loose declares"),
    (_local_enum, "define it at the top level of a module"),
    (lambda: type("Main", (), {"__module__": "__main__"}), "top level"),
    (lambda: models.F("x"), r"refresh_from_db\(\)"),
    (lambda: models.F("x") + 1, r"refresh_from_db\(\)"),
    (lambda: datetime(2025, 1, 1, tzinfo=Odd()), "use zoneinfo"),
    (lambda: ZoneInfo.from_file(_zone_file()), "no key to find it by"),
]


class Odd(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(0)

    def dst(self, when: datetime | None) -> None:
        return None

    def tzname(self, when: datetime | None) -> str:
        return "odd"


def _zone_file() -> io.BytesIO:
    head = b"TZif" + b"\0" * 16
    counts = b"".join(n.to_bytes(4, "big") for n in (0, 0, 0, 0, 1, 4))
    return io.BytesIO(head + counts + b"\0\0\0\0\0\0" + b"UTC\0")


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_this_is_refused_with_the_way_out(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises(PayloadError, match=words) as caught:
        sent([make()])
    assert str(caught.value).startswith("order_confirmed: value[0]")


def test_an_awaitable_is_to_be_awaited_first() -> None:
    waiting = _waiting()
    assert "await it" in refusal(waiting).problem
    waiting.close()


def test_a_refusal_is_a_type_error_that_names_signal_and_path() -> None:
    order = Line([Line(0), Line(1), Line(Opaque())])
    with pytest.raises(TypeError) as caught:
        encode("order_confirmed", None, {"order": order}, max_bytes=LIMIT)
    assert str(caught.value).startswith("order_confirmed: order.sku[2].sku: a ")


def test_the_path_leads_through_keys_of_every_kind() -> None:
    bad = {"a": {7: ({Point(1, io.StringIO())},)}}
    assert refusal(bad).path == "value['a'][7][0][*].y"
    assert refusal({Opaque: [open]}).path == "value[<type>][0]"
    assert refusal({1: 0, Loud("k"): 1}).path == "value.keys()[1]"


def test_the_path_of_the_sender_is_sender() -> None:
    with pytest.raises(PayloadError, match="order_confirmed: sender: a"):
        encode("order_confirmed", Opaque(), {}, max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("sender", "kwargs", "argument"),
    [
        (Opaque(), {}, "sender"),
        (None, {"order": Line([Opaque()])}, "order"),
        (None, {"a.b[0]": Opaque()}, "a.b[0]"),
        (None, {"small": 1, "large": "x" * LIMIT}, "large"),
    ],
    ids=["sender", "nested", "odd name", "too large"],
)
def test_a_refusal_names_the_argument_at_fault(
    sender: object, kwargs: dict[str, object], argument: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        encode("order_confirmed", sender, kwargs, max_bytes=LIMIT)
    assert caught.value.argument == argument


def test_a_caller_can_add_its_hint_to_a_refusal() -> None:
    error = refusal(Opaque())
    assert not str(error).endswith(";")
    error.hint = 'connect on_viewed with exclude=["value"]'
    assert str(error).endswith(
        'register_type(); connect on_viewed with exclude=["value"]'
    )
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.argument) == (str(error), "value")


def test_a_cycle_is_refused() -> None:
    lines: list[object] = [1]
    lines.append({"again": lines})
    error = refusal(lines)
    assert error.path == "value[1]['again']"
    assert "a cycle cannot travel" in error.problem


def test_a_cycle_through_a_dataclass_is_refused() -> None:
    line = Line(1)
    line.count = (line,)
    assert refusal(line).path == "value.count[0]"


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_values_may_be_nested_a_hundred_levels_deep_and_no_deeper() -> None:
    assert arrived(nested(100)) == nested(100)
    error = refusal(nested(101))
    assert "deeper than 100 levels" in error.problem
    assert len(error.path) <= 240


def test_a_call_stack_near_its_end_is_no_recursion_error() -> None:
    def descend() -> None:
        with suppress(RecursionError):
            descend()
        sent(nested(90))

    with pytest.raises(PayloadError, match="call stack"):
        descend()


def test_a_lazy_object_that_stands_for_itself_is_no_recursion_error() -> None:
    lazy_: Any = SimpleLazyObject(lambda: lazy_)
    assert "nested too deeply" in refusal([lazy_]).problem


@pytest.mark.parametrize("large", ["x" * 10**7, b"x" * 10**7, 1 << 10**8], ids=type)
def test_a_value_far_too_large_is_refused_before_it_is_written(large: object) -> None:
    error = refusal({"blob": large})
    assert error.path == "value['blob']"
    assert f"longer than {LIMIT} bytes" in error.problem
    assert 'SIGNAL_TASKS["MAX_PAYLOAD_BYTES"]' in error.problem
    assert "send a key" in error.problem


def test_a_value_shared_so_often_that_it_would_be_too_large_is_refused() -> None:
    value: object = 1
    for _ in range(90):
        value = [value, value]
    assert "longer than" in refusal(value).problem


def test_the_limit_is_on_the_text_and_the_largest_keyword_is_named() -> None:
    kwargs: dict[str, object] = {"small": 1, "large": "ä" * 100}
    size = len(encode("s", None, kwargs, max_bytes=LIMIT))
    assert encode("s", None, kwargs, max_bytes=size)
    with pytest.raises(PayloadError, match=f"s: large: .* {size - 1} bytes"):
        encode("s", None, kwargs, max_bytes=size - 1)


# What cannot be read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin with its version"),
        ("gibberish", "does not begin with its version"),
        ('{"v":2,"sender":{"$new":1},"kwargs":{}}', "version 2 cannot be read"),
        ('{"v":1,"sender":null,"kwargs":{}', "damaged"),
        ('{"v":1,"sender":null}', "damaged"),
        ('{"v":1,"sender":null,"kwargs":[]}', "not a dict"),
        ('{"v":1,"sender":null,"kwargs":' + "[" * 100_000, "damaged"),
        ('{"v":1,"sender":' + '{"$tuple":[' * 50_000 + "]}" * 50_000, "damaged"),
        ('{"v":' + "9" * 5000 + ',"sender":null,"kwargs":{}}', "does not begin"),
        ('{"v":1,"sender":null,"kwargs":{"a":' + "9" * 5000 + "}}", "damaged"),
    ],
    ids=[
        "empty",
        "noise",
        "later",
        "torn",
        "short",
        "list",
        "deep",
        "deep-tags",
        "version",
        "digits",
    ],
)
def test_a_damaged_payload_is_a_decode_error(text: str, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        decode(text)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('{"$new":1}', r"unknown kind of value '\$new'"),
        ('{"$decimal":"x"}', r"cannot read a \$decimal"),
        ('{"$date":5}', r"cannot read a \$date"),
        ('{"$zoneinfo":"No/Where"}', "No/Where"),
        ('{"$set":[[]]}', r"cannot read a \$set"),
        ('{"$dict":[1]}', r"cannot read a \$dict"),
        ('{"$class":"nowhere.such:Thing"}', "nowhere"),
        ('{"$class":"sys:path"}', r"cannot read a \$class"),
        ('{"$class":"sys:Gone.X"}', "Gone"),
        ('{"$enum":["builtins:int","x"]}', "is not a class of kind Enum"),
        ('{"$dataclass":["builtins:int",{}]}', "dataclass"),
        ('{"$type":["gone",1]}', "gone"),
    ],
)
def test_a_value_that_cannot_be_read_is_a_decode_error(value: str, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        decode(f'{{"v":1,"sender":{value},"kwargs":{{}}}}')


@pytest.mark.parametrize(
    "value",
    [
        {"$int": "z" * 200_000},
        {"$" + "z" * 200_000: 1},
        {"$enum": ["builtins:int", "z" * 200_000]},
        {"$text": ["IPv4Address", "z" * 200_000]},
        {"$fraction": [1, 0]},
        {"$deque": [-1, []]},
        {"$defaultdict": [1, []]},
        {"$text": ["NoSuchType", ""]},
        {"$numpy": ["no_such_type", 1]},
        {"$money": ["no_such_package", 1, "EUR", 2]},
        {"$attrs": ["builtins:int", {}, False]},
        {"$struct": ["builtins:int", {}]},
        {"$range": ["builtins:int", 1, 2, "[)"]},
        {"$column": ["auth.user", "username", "text"]},
    ],
    ids=lambda value: next(iter(value))[:12],
)
def test_an_error_about_damaged_data_is_short(value: object) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(f'{{"v":1,"sender":{json.dumps(value)},"kwargs":{{}}}}')
    assert len(str(caught.value)) < 400


@given(st.text(), st.integers(0, 200))
def test_damaged_text_is_never_another_error(noise: str, where: int) -> None:
    text = sent([Decimal(1), Price(amount=Decimal(1)), {1: Right.READ}, BERLIN])
    with suppress(DecodeError):
        decode(text[: where + 7] + noise + text[where + 8 :])


def test_a_member_that_left_its_enum_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="GONE"):
        decode(sent(Word.YES).replace("YES", "GONE"))
