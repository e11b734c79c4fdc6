"""Values of common packages arrive with their type; the project has imported them."""

from __future__ import annotations

import subprocess
import sys
import types
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import attrs
import moneyed
import msgspec
import numpy as np
import pydantic
import pytest
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange, NumericRange
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.range import Int4Range, Range

from signal_tasks.codec import decode
from signal_tasks.exceptions import DecodeError
from tests.signal_tasks.codec.values import (
    BERLIN,
    Line,
    Opaque,
    any_text,
    arrived,
    identity,
    refusal,
    sent,
    values,
)

# numpy

NUMBERS = [
    np.bool_,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.longlong,
    np.float16,
    np.float32,
    np.float64,
]


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, where nan and NaT equal themselves."""
    return type(left) is type(right) and repr(left) == repr(right)


@pytest.mark.parametrize("kind", NUMBERS, ids=lambda kind: kind.__name__)
def test_a_numpy_number_arrives_with_its_type(kind: Any) -> None:
    for value in (kind(0), kind(1), kind(100) / kind(1)):
        assert same(arrived(value), value)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("number", [1 / 3, -0.0, float("nan"), float("-inf")])
def test_a_numpy_float_arrives_exactly(kind: Any, number: float) -> None:
    assert same(arrived(kind(number)), kind(number))


@pytest.mark.parametrize("text", ["2025-01-01T10", "1677-09-21T00:12:44", "NaT"])
@pytest.mark.parametrize("unit", ["D", "h", "25s", "ns"])
def test_a_numpy_time_arrives_in_its_unit(text: str, unit: str) -> None:
    moment = np.datetime64(text).astype(f"datetime64[{unit}]")
    again = arrived({"at": [moment, moment - moment]})["at"]
    assert same(again[0], moment)
    assert again[0].dtype == moment.dtype
    assert same(again[1], moment - moment)
    assert again[1].dtype == (moment - moment).dtype


@given(any_text, st.binary())
def test_numpy_text_arrives(text: str, data: bytes) -> None:
    for value in (np.str_(text), np.bytes_(data), np.void(data or b"x")):
        assert same(arrived(value), value)


@pytest.mark.parametrize(
    "value",
    [np.complex64(1j), np.longdouble(1), np.zeros(1, "i4,f8")[0]],
    ids=lambda value: type(value).__name__,
)
def test_a_numpy_scalar_that_python_has_no_type_for_is_refused(value: Any) -> None:
    assert "send value.item() if that can" in refusal(value).problem


class Meters(np.float64):
    pass


def test_a_class_derived_from_a_numpy_scalar_is_refused() -> None:
    assert "Meters cannot travel" in refusal(Meters(1)).problem


def test_an_array_is_refused_with_the_way_out() -> None:
    error = refusal({"matrix": np.zeros((2, 2))})
    assert error.path == "value['matrix']"
    assert "send value.tolist()" in error.problem


# attrs


@attrs.define
class Parcel:
    weight: Any
    _code: Any = "x"
    tags: list[Any] = attrs.field(factory=list)
    total: Any = attrs.field(init=False)
    label: Any = attrs.field(
        default=attrs.Factory(lambda self: f"label {self.weight}", takes_self=True)
    )


@attrs.frozen(cache_hash=True)
class Address:
    street: Any = attrs.field(converter=str)
    number: Any = 1


@attrs.define
class Failed(Exception):
    code: int = 1


@given(values, values)
def test_an_attrs_instance_arrives_in_the_state_it_had(a: object, b: object) -> None:
    parcel = Parcel(weight=1, code=2)
    parcel.weight, parcel.tags = a, [b]
    again = arrived(parcel)
    assert type(again) is Parcel
    assert identity([again.weight, again.tags]) == identity([a, [b]])
    assert (again._code, again.label) == (2, "label 1")
    assert not hasattr(again, "total")


def test_a_frozen_attrs_instance_arrives_and_has_its_hash() -> None:
    address = Address("Main Street")
    assert arrived({address: 1}) == {address: 1}


def test_an_attrs_class_that_changed_since_takes_defaults_and_drops_the_rest() -> None:
    text = sent(Parcel(3))
    text = text.replace('"_code":"x",', '"gone":1,').replace('"label 3"', '"was"')
    again = decode(text.replace('"label":"was"', '"also":1')).kwargs["value"]
    assert (again._code, again.label) == ("x", "label 3")
    with pytest.raises(DecodeError, match="weight has neither"):
        decode(text.replace('"weight":3,', ""))


@attrs.define(slots=False)
class Crate:
    weight: Any

    def __attrs_post_init__(self) -> None:
        self.double = self.weight * 2


@attrs.define
class Sized:
    sides: Any

    @cached_property
    def opaque(self) -> object:
        return Opaque()


class Painted(Sized):
    """Derived from a class of attrs, and none itself."""

    def __init__(self, colour: object) -> None:
        super().__init__(sides=[1])
        self.colour = colour


def test_what_an_attrs_instance_has_besides_its_fields_arrives() -> None:
    assert arrived(Crate(2)).double == 4
    again = arrived(Painted((1, 2)))
    assert (type(again), again.sides, again.colour) == (Painted, [1], (1, 2))


def test_what_a_property_of_an_attrs_instance_keeps_stays_behind() -> None:
    painted = Painted("red")
    assert type(painted.opaque) is Opaque
    again = arrived(painted)
    assert again.opaque is not painted.opaque


def test_an_attrs_exception_is_refused() -> None:
    assert "builtin type as its base" in refusal(Failed()).problem


def test_the_path_into_an_attrs_instance_names_the_attribute() -> None:
    parcel = Parcel(1)
    parcel.weight = Line(Opaque())
    assert refusal([parcel]).path == "value[0].weight.sku"


# pydantic


class Item(pydantic.BaseModel):
    sku: Any
    count: int = 1
    notes: list[Any] = pydantic.Field(default_factory=list)

    @pydantic.field_validator("count")
    @classmethod
    def check_count(cls, count: int) -> int:
        if count > 100:
            raise ValueError("too many")
        return count


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)

    a: Any = 1
    _seen: Any = pydantic.PrivateAttr(default=None)


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Box(pydantic.BaseModel):
    content: Any

    @property
    def lazy(self) -> object:
        raise AssertionError("the codec ran code of a value")


@given(values)
def test_a_pydantic_model_arrives_with_the_types_of_its_fields(value: object) -> None:
    again = arrived(Box(content=value))
    assert type(again) is Box
    assert identity(again.content) == identity(value)


def test_a_pydantic_model_knows_which_fields_were_set() -> None:
    item = Item(sku="a", notes=[Decimal("1.50")])
    again = arrived(item)
    assert again == item
    assert again.model_fields_set == {"sku", "notes"}
    assert type(again.notes[0]) is Decimal


def test_a_pydantic_model_keeps_its_extra_and_private_values() -> None:
    given_ = {"$decimal": Decimal(1), "b": (1, 2)}
    opened = Open(a=2, **given_)
    opened._seen = {3}
    again = arrived([opened])[0]
    assert again == opened
    assert (again.model_extra, again._seen) == (given_, {3})


def test_a_pydantic_root_model_arrives() -> None:
    assert arrived(Numbers([1, 2])) == Numbers([1, 2])


def test_a_pydantic_model_is_not_validated_again() -> None:
    item = Item.model_construct(sku="a", count=500)
    assert arrived(item).count == 500


def test_a_pydantic_model_that_changed_since_takes_defaults_and_drops_the_rest() -> (
    None
):
    text = sent(Item(sku="a"))
    changed = text.replace('"count":1', '"gone":5').replace('"notes":[]', '"old":0')
    assert decode(changed).kwargs["value"] == Item(sku="a")
    with pytest.raises(DecodeError, match="sku has neither"):
        decode(text.replace('"sku":"a",', ""))


def test_the_path_into_a_pydantic_model_names_the_field() -> None:
    assert refusal(Item(sku=[Opaque()])).path == "value.sku[0]"


def test_a_pydantic_model_in_a_payload_must_be_one() -> None:
    text = sent(Item(sku=1)).replace("test_codec_packages:Item", "values:Line")
    with pytest.raises(DecodeError, match="not derived from BaseModel"):
        decode(text)


# msgspec


class Job(msgspec.Struct, rename="camel", kw_only=True):
    job_name: Any
    runs: int = 0
    steps: list[Any] = []

    def __post_init__(self) -> None:
        self.runs += 1


class Fixed(msgspec.Struct, frozen=True, tag=True):
    a: Any
    b: Any = None


@given(values, values)
def test_a_struct_arrives_with_the_types_of_its_fields(a: object, b: object) -> None:
    again = arrived(Fixed(a, b))
    assert type(again) is Fixed
    assert identity([again.a, again.b]) == identity([a, b])


def test_a_struct_arrives_in_the_state_it_had() -> None:
    job = Job(job_name="x", runs=5)
    again = arrived(job)
    assert again == job
    assert again.runs == 6


class Loose(msgspec.Struct, dict=True, frozen=True):
    a: Any

    @cached_property
    def opaque(self) -> object:
        return Opaque()


def test_what_a_struct_has_besides_its_fields_arrives() -> None:
    loose = Loose(1)
    vars(loose)["note"] = {1}
    assert type(loose.opaque) is Opaque
    assert vars(arrived(loose)) == {"note": {1}}


def test_a_struct_that_changed_since_takes_defaults_and_drops_the_rest() -> None:
    text = sent(Fixed(1, 2)).replace('"b":2', '"gone":2')
    assert decode(text).kwargs["value"] == Fixed(1)
    with pytest.raises(DecodeError, match="'a'"):
        decode(text.replace('"a":1,', ""))


# Ranges and money


@pytest.mark.parametrize(
    "value",
    [
        NumericRange(1, Decimal("2.50"), "[]"),
        NumericRange(None, 5, "(]"),
        NumericRange(empty=True),
        Int4Range(1, 2),
        DateTimeTZRange(None, None),
    ],
    ids=str,
)
def test_a_range_arrives(value: Any) -> None:
    again = arrived({"range": value})["range"]
    assert (type(again), again) == (type(value), value)


def test_the_ends_of_a_range_keep_their_types_and_name_their_place() -> None:
    zoned = Range(BERLIN, BERLIN)  # any type, as long as it travels
    assert arrived(zoned).lower is BERLIN
    assert refusal(Range(1, Opaque())).path == "value.upper"


def test_money_arrives_exactly_with_its_currency() -> None:
    price = moneyed.Money("1.50", "EUR")
    again = arrived([price])[0]
    assert (type(again), again) == (moneyed.Money, price)
    assert (str(again.amount), again.currency) == ("1.50", moneyed.EUR)
    assert arrived(moneyed.USD) is moneyed.USD


def test_a_currency_that_no_worker_knows_is_refused() -> None:
    own = moneyed.Currency("OWN")
    error = refusal([moneyed.Money(1, own)])
    assert error.path == "value[0].currency"
    assert "no currency 'OWN'" in error.problem


def test_a_currency_that_is_gone_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="no currency 'GONE'"):
        decode(sent(moneyed.EUR).replace("EUR", "GONE"))


class Discount(moneyed.Money):
    pass


def test_a_class_derived_from_money_is_refused() -> None:
    assert "Discount cannot travel" in refusal(Discount(1, "EUR")).problem


# freezegun


@pytest.mark.parametrize(
    ("name", "base", "moment"),
    [
        ("FakeDatetime", datetime, datetime(2020, 1, 1, 12, tzinfo=UTC)),
        ("FakeDatetime", datetime, datetime(2020, 1, 1, 12, tzinfo=BERLIN, fold=1)),
        ("FakeDate", date, date(2020, 1, 1)),
    ],
)
def test_a_time_that_freezegun_has_made_arrives_as_one_of_python(
    name: str, base: Any, moment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of the package's name stands for it: it is not needed for anything else."""
    package = types.ModuleType("freezegun.api")
    fake: Any = type(name, (base,), {"__module__": package.__name__})
    setattr(package, name, fake)
    monkeypatch.setitem(sys.modules, package.__name__, package)
    frozen = fake.fromisoformat(moment.isoformat())
    if base is datetime:
        frozen = frozen.replace(tzinfo=moment.tzinfo, fold=moment.fold)
    assert type(frozen) is fake
    assert identity(arrived(frozen)) == identity(moment)


# Packages that are not there


ALONE = """
import sys
for name in ("numpy", "attr", "pydantic", "msgspec", "moneyed", "psycopg"):
    sys.modules[name] = None  # importing it is an error
from django.conf import settings
settings.configure()
from signal_tasks.codec import decode, encode
class Any_: pass
try:
    encode("s", None, {"a": Any_()}, max_bytes=1000)
except TypeError as error:
    print(error)
for text in sys.argv[1:]:
    try:
        decode(text)
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_without_the_packages_nothing_of_them_is_imported_or_read() -> None:
    texts = [sent(np.int8(1)), sent(Item(sku=1)), sent(moneyed.EUR)]
    run = subprocess.run(
        [sys.executable, "-c", ALONE, *texts],
        capture_output=True,
        text=True,
        check=True,
    )
    refused, *unread = run.stdout.splitlines()
    assert "register_type()" in refused
    assert [line.split()[0] for line in unread] == ["DecodeError"] * 3
