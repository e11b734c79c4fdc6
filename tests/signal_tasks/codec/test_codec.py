"""Values arrive as they left, with their type: no database here."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, partial
from pathlib import PosixPath
from typing import Any, Generic, TypeVar
from uuid import UUID

import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.functional import cached_property as django_cached_property
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy, ngettext_lazy, override
from hypothesis import given
from hypothesis import strategies as st

from signal_tasks.codec import decode, encode, register_type
from signal_tasks.exceptions import DecodeError
from tests.signal_tasks.codec.values import (
    BERLIN,
    LIMIT,
    Line,
    Money,
    Number,
    Opaque,
    Point,
    Price,
    any_text,
    arrived,
    identity,
    leaves,
    refusal,
    sent,
    values,
)


class Coin(Money):
    pass


@dataclass
class Unset:
    later: int = field(init=False)


T = TypeVar("T")


@dataclass
class Derived(Generic[T]):
    """Sets more than its fields, and keeps what it has computed."""

    side: T

    def __post_init__(self) -> None:
        self.sides = [self.side, self.side]

    @cached_property
    def opaque(self) -> object:
        return Opaque()

    @django_cached_property
    def lazy(self) -> object:
        return Opaque()


class Labelled(Line):
    """Derived from a dataclass, and none itself: its attribute is no field."""

    def __init__(self, label: object) -> None:
        super().__init__(sku=1)
        self.label = label


@dataclass(slots=True)
class Slotted:
    sku: int


class MoreSlots(Slotted):
    __slots__ = ("label",)

    def __init__(self, label: object) -> None:
        super().__init__(sku=1)
        self.label = label


class LabelledPoint(Point):
    label: object = None


@dataclass
class Swatch:
    hue: int


def _never(data: object) -> Any:
    raise AssertionError("nothing was sent")


def _made(word: Any, data: object) -> Any:
    return word


register_type(
    Money, encode=lambda money: money.amount, decode=Money, name="tests.money"
)


@given(values)
def test_every_value_arrives_as_it_left_with_its_type(value: object) -> None:
    assert identity(arrived(value)) == identity(value)


@given(values, values, any_text)
def test_what_is_stored_is_ascii_without_nul(a: object, b: object, name: str) -> None:
    text = encode("s", a, {name: b}, max_bytes=LIMIT)
    assert text.isascii()
    assert "\0" not in text


@given(st.dictionaries(any_text, leaves), leaves)
def test_keywords_and_sender_arrive_whatever_they_are(
    kwargs: dict[str, object], sender: object
) -> None:
    payload = decode(encode("s", sender, kwargs, max_bytes=LIMIT))
    assert identity(payload.kwargs) == identity(kwargs)
    assert identity(payload.sender) == identity(sender)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        math.nan,
        -math.inf,
        10**5000,
        -(2**63) - 1,
        "NUL \0 inside",
        "\ud83d\ude00",
        "\udc00 alone",
        {"\ud800": 1},
        {"$decimal": "1"},
        {"$dict": [1, 2]},
        {"$": None},
        {1: "one", "1": "text", 2: "two", None: 0, (1, "a"): b"\xff"},
        Decimal("sNaN123"),
        Decimal("-0E-10"),
        Decimal("1E+999"),
        date.min,
        datetime.max,  # noqa: DTZ901 - naive values travel too
        datetime(2025, 10, 26, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2025, 10, 26, 2, 30, fold=1),  # noqa: DTZ001 - the same
        datetime(1, 1, 1, tzinfo=timezone(timedelta(seconds=-1, microseconds=5))),
        datetime(2025, 1, 1, tzinfo=timezone(timedelta(0), "Zulu")),
        time(1, 2, 3, 4, tzinfo=BERLIN, fold=1),
        timedelta.min,
        UUID(int=0),
        bytearray(b"\x00\xff"),
        Price(amount=Decimal("1.50")),
        Line([Line(1)], {"a": Point(1, (2,))}),
        [[]] * 3,
    ],
    ids=lambda value: type(value).__name__,
)
def test_this_value_arrives_as_it_left(value: object) -> None:
    assert identity(arrived(value)) == identity(value)


def test_an_alias_of_an_enum_member_arrives_as_that_member() -> None:
    assert arrived(Number.UNO) is Number.ONE


def test_a_lazy_string_arrives_as_text_in_the_language_of_the_sender() -> None:
    with override("de"):
        text = sent([gettext_lazy("Yes"), {gettext_lazy("No"): 1}])
    assert decode(text).kwargs["value"] == ["Ja", {"Nein": 1}]


def test_a_lazy_plural_arrives_as_text_and_safe_markup_stays_safe() -> None:
    [plural, markup] = arrived(
        [ngettext_lazy("%d cat", "%d cats", 2) % 2, mark_safe("<b>")]
    )
    assert (type(plural), plural) == (str, "2 cats")
    assert (type(markup), markup) == (SafeString, "<b>")


def test_a_lazy_object_arrives_as_what_it_stands_for() -> None:
    assert identity(arrived(SimpleLazyObject(lambda: (1, 2)))) == identity((1, 2))


def test_order_of_a_dict_is_kept() -> None:
    assert list(arrived({"b": 1, "a": 2})) == ["b", "a"]
    assert list(arrived({"b": 1, 1: 2, "a": 3})) == ["b", 1, "a"]


def test_a_field_never_set_is_not_set_on_arrival() -> None:
    assert not hasattr(arrived(Unset()), "later")


def test_no_init_of_a_dataclass_runs_on_arrival() -> None:
    price = Price(amount=Decimal(2), rate=5)
    assert arrived(price).total == 10


def test_a_dataclass_that_changed_since_takes_defaults_and_drops_the_rest() -> None:
    text = sent(Line("a")).replace('"count":1', '"gone":1')
    assert decode(text).kwargs["value"] == Line("a", 1)


def test_what_post_init_has_set_besides_the_fields_arrives() -> None:
    derived = Derived(side=2)
    derived.sides.append(3)
    assert vars(arrived(derived)) == {"side": 2, "sides": [2, 2, 3]}


def test_what_a_property_keeps_and_what_python_notes_stay_behind() -> None:
    derived = Derived[int](side=2)
    assert {type(derived.opaque), type(derived.lazy)} == {Opaque}
    assert {"opaque", "lazy", "__orig_class__"} < vars(derived).keys()
    assert vars(arrived(derived)).keys() == {"side", "sides"}


@pytest.mark.parametrize("kind", [Labelled, MoreSlots])
def test_an_attribute_of_a_class_derived_from_a_dataclass_arrives(kind: Any) -> None:
    again = arrived(kind((1, Decimal(2))))
    assert (type(again), again.sku, again.label) == (kind, 1, (1, Decimal(2)))


def test_an_attribute_of_a_named_tuple_arrives() -> None:
    point = LabelledPoint(1, 2)
    point.label = {1}
    assert (arrived(point), arrived(point).label) == (point, {1})


def test_an_attribute_that_cannot_travel_is_refused_by_its_name() -> None:
    assert refusal([Labelled(Opaque())]).path == "value[0].label"


def test_an_attribute_that_the_class_has_no_place_for_any_more_is_dropped() -> None:
    text = sent(MoreSlots(1)).replace('"label"', '"gone"')
    again = decode(text).kwargs["value"]
    assert (again.sku, hasattr(again, "label")) == (1, False)


def test_a_named_tuple_that_grew_since_takes_its_default() -> None:
    assert decode(sent(Point(1, 2)).replace(',"y":2', "")).kwargs["value"] == Point(
        1, 0
    )


def test_a_dataclass_field_without_value_or_default_is_unreadable() -> None:
    with pytest.raises(DecodeError, match="sku has neither"):
        decode(sent(Line("a")).replace('"sku":"a",', ""))


# Registered types


def test_a_registered_type_arrives_by_its_name() -> None:
    money = Money([Decimal("1.5"), {Number.ONE}])
    assert "tests.money" in sent(money)
    assert identity(arrived(money).amount) == identity(money.amount)


def test_a_subclass_of_a_registered_type_arrives_as_that_type() -> None:
    assert type(arrived(Coin(1))) is Money


def test_a_class_registered_itself_wins_over_its_base_and_over_what_is_known() -> None:
    class Cent(Money):
        pass

    register_type(Cent, encode=lambda cent: cent.amount, decode=Cent)
    assert type(arrived(Cent(1))) is Cent
    register_type(Swatch, encode=lambda s: s.hue, decode=lambda hue: Swatch(hue + 1))
    assert arrived(Swatch(1)) == Swatch(2)


def test_a_name_belongs_to_one_class() -> None:
    with pytest.raises(ValueError, match=r"tests\.money.*Money.*Opaque"):
        register_type(Opaque, encode=id, decode=_never, name="tests.money")


def test_a_type_registered_again_takes_the_new_way() -> None:
    class Fresh:
        pass

    for word in ("old", "new"):
        register_type(Fresh, encode=lambda _: 0, decode=partial(_made, word))
    assert arrived(Fresh()) == "new"


def test_a_class_of_a_reloaded_module_replaces_the_one_it_had() -> None:
    def load(word: str) -> Any:
        class Reloaded:
            pass

        register_type(
            Reloaded,
            encode=lambda _: 0,
            decode=partial(_made, word),
            name="tests.reloaded",
        )
        return Reloaded

    old, new = load("old"), load("new")
    assert arrived(new()) == "new"
    assert "cannot travel" in refusal(old()).problem


def test_a_class_may_move_to_a_new_name_and_be_read_by_the_old() -> None:
    class Moved:
        pass

    register_type(Moved, encode=lambda _: 0, decode=partial(_made, "a"), name="t.old")
    text = sent(Moved())
    register_type(Moved, encode=lambda _: 0, decode=partial(_made, "b"), name="t.new")
    assert decode(text).kwargs["value"] == "a"
    assert arrived(Moved()) == "b"


@pytest.mark.parametrize("kind", [int, date, deque, Fraction, PosixPath])
def test_what_travels_already_cannot_be_registered(kind: Any) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} travels already"):
        register_type(kind, encode=str, decode=kind)


def test_an_encoder_that_fails_is_told_with_its_cause() -> None:
    class Broken:
        pass

    register_type(Broken, encode=lambda _: int("x"), decode=_never, name="tests.broken")
    error = refusal([Broken()])
    assert error.path == "value[0]"
    assert "encoder of tests.broken failed" in error.problem
    assert isinstance(error.__cause__, ValueError)


def test_what_an_encoder_gives_is_held_to_the_same_rules() -> None:
    class Endless:
        pass

    register_type(Endless, encode=lambda it: it, decode=_never, name="tests.endless")
    assert "contains itself" in refusal(Endless()).problem
    assert refusal(Money({"a": open})).path == "value['a']"
