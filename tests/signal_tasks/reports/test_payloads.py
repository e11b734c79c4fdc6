"""People read a payload in one line, whatever became of its rows and its code."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from signal_tasks import codec
from signal_tasks.reports.payloads import ShownPayload, show


def stored(sender: object, **named: Any) -> str:
    return codec.encode("a.signal", sender, named, max_bytes=100_000)


def shown(payload: str) -> ShownPayload:
    return show("a.signal", payload)


def user(pk: int) -> User:
    saved = User(pk=pk, username="ann")
    saved._state.adding, saved._state.db = False, "default"
    return saved


def test_a_payload_is_one_line_without_the_database() -> None:
    seen = shown(stored(User, user=user(5), total=Decimal("1.20"), note="hello"))
    assert seen.line == "user=auth.user:5, total=1.20, note='hello'"
    assert seen.sender == "auth.user"


def test_each_instance_is_named_once() -> None:
    seen = shown(stored(user(5), first=user(5), others=[user(6), {"a": user(7)}]))
    assert [str(each) for each in seen.references] == [
        "auth.user:5",
        "auth.user:6",
        "auth.user:7",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (10**30, hex(10**30)),
        (uuid.UUID(int=1), uuid.UUID(int=1).hex),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        ({1: "one"}, "{1: 'one'}"),
        ({"a": [1, 2]}, "{a: [1, 2]}"),
        ((1, 2), "tuple(1, 2)"),
        (User, "auth.user"),
    ],
)
def test_a_value_is_a_short_text(value: object, text: str) -> None:
    assert shown(stored(None, value=value)).arguments == {"value": text}


def test_long_values_and_lines_are_cut() -> None:
    seen = shown(stored(None, long="x" * 1000, **{f"n{i}": "y" * 50 for i in range(9)}))
    assert len(seen.arguments["long"]) == 80
    assert len(seen.line) == 160
    assert seen.line.endswith(" ...")


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", "null", '{"v":1,"kwargs":3}', '{"kwargs":{"$dict":5}}']
)
def test_a_damaged_payload_is_shown_as_it_is(damaged: str) -> None:
    shown(damaged)  # raises nothing


def test_names_of_arguments_that_are_tags_are_read_back() -> None:
    assert shown(stored(None, **{"$odd": 1})).arguments == {"$odd": "1"}
