"""Lists, tuples, sets and dicts.

# Note [Tags]
A value that JSON has no word for is an object with one key that starts with "$"
(``{"$decimal": "1.50"}``). A dict that could be taken for one, or whose keys are not
plain strings, is written as a flat list of its keys and values under ``$dict``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from signal_tasks.codec.refusal import step

if TYPE_CHECKING:
    from signal_tasks.codec.reader import Read, Reader
    from signal_tasks.codec.writer import Write, Writer


def _index(index: int) -> str:
    return f"[{index}]"


def write_list(value: list[Any], writer: Writer) -> object:
    """A list."""
    return writer.write_each(value, value, _index)


def write_tuple(value: tuple[Any, ...], writer: Writer) -> object:
    """A tuple."""
    return {"$tuple": writer.write_each(value, value, _index)}


def write_set(value: set[Any], writer: Writer) -> object:
    """A set."""
    return {"$set": writer.write_each(value, value, lambda _: "[*]")}


def write_frozenset(value: frozenset[Any], writer: Writer) -> object:
    """A frozenset."""
    return {"$frozenset": writer.write_each(value, value, lambda _: "[*]")}


def is_plain(key: object) -> bool:
    """Whether a key of a dict can be a key of a JSON object: Note [Tags]."""
    return type(key) is str and key[:1] != "$" and key.isprintable()


def write_dict(value: dict[Any, Any], writer: Writer) -> object:
    """A dict in its order, whatever its keys."""
    if not all(map(is_plain, value)):
        return _write_pairs(value, writer)
    writer.spend(sum(map(len, value)))
    keys = list(value)
    written = writer.write_each(value, value.values(), lambda i: step(keys[i]))
    return dict(zip(keys, written, strict=True))


def _write_pairs(value: Mapping[Any, Any], writer: Writer) -> object:
    flat = [part for pair in value.items() for part in pair]

    def where(index: int) -> str:
        return step(flat[index - 1]) if index % 2 else f".keys()[{index // 2}]"

    return {"$dict": writer.write_each(value, flat, where)}


def read_dict(data: list[Any], reader: Reader) -> dict[Any, Any]:
    """A dict with keys of any type."""
    return dict(zip(data[::2], data[1::2], strict=True))


def read_tuple(data: list[Any], reader: Reader) -> tuple[Any, ...]:
    """A tuple."""
    return tuple(data)


def read_set(data: list[Any], reader: Reader) -> set[Any]:
    """A set."""
    return set(data)


def read_frozenset(data: list[Any], reader: Reader) -> frozenset[Any]:
    """A frozenset."""
    return frozenset(data)


WRITERS: dict[type, Write] = {
    list: write_list,
    tuple: write_tuple,
    set: write_set,
    frozenset: write_frozenset,
    dict: write_dict,
}

READERS: dict[str, Read] = {
    "$tuple": read_tuple,
    "$set": read_set,
    "$frozenset": read_frozenset,
    "$dict": read_dict,
}
