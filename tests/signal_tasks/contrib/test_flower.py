"""Flower gets readable arguments in few bytes, and links to what they name alone.

With a real Flower: tests/integration/test_flower.py.
"""

from __future__ import annotations

import json
import uuid

import pytest

from signal_tasks.broker.messages import Message
from signal_tasks.contrib.flower import links

BASE = "https://shop.example/signals/"


def shown(number: int, database: str = "default") -> tuple[list[str], str]:
    """Return ids, and the arguments of a message with them as Flower shows them."""
    ids = [str(uuid.uuid4()) for _ in range(number)]
    message = Message(task="t", ids=tuple(ids), database=database)
    return ids, message.options()["argsrepr"]


@pytest.mark.parametrize("number", [1, 3, 100])
def test_the_deliveries_that_are_shown_are_linked(number: int) -> None:
    ids, arguments = shown(number, "other")
    found = links(BASE, arguments)
    for pk in ids[:3]:
        assert f'href="{BASE}deliveries/{pk}/?database=other"' in found
    assert found.count("<a ") == min(number, 3)


@pytest.mark.parametrize(
    "arguments",
    [None, "", "()", "(1, 2)", "([<script>], 'default')", "[]", "(['a'], 'b')"],
)
def test_the_arguments_of_other_tasks_are_no_links(arguments: object) -> None:
    assert links(BASE, arguments) == ""


def test_whatever_is_called_a_database_is_no_markup() -> None:
    _, arguments = shown(1, '"><script>')
    assert "<script>" not in links(BASE, arguments)


def test_a_full_message_grows_by_a_few_bytes_to_be_readable() -> None:
    ids, arguments = shown(100)
    assert arguments == f"([{', '.join(ids[:3])}, and 97 more], 'default')"
    assert len(arguments) < 150 < len(json.dumps(ids)) / 25
