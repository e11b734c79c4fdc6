"""Lists, tuples, sets, dicts, and the containers of ``collections``.

# Note [Tags]
A value that JSON does not have is an object with one key that starts with "$"
(``{"$decimal": "1.50"}``). A dict that looks like such an object, or whose keys are not
plain strings, is written as a flat list of its keys and values under ``$dict``.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from typing import Any

from signal_tasks.codec.protocols import Read, Reader, Write, Writer
from signal_tasks.codec.refusal import Refused, step


def _index(index: int) -> str:
    return f"[{index}]"


def write_list(value: list[Any], writer: Writer) -> object:
    """Write a list."""
    return writer.write_each(value, value, _index)


def write_tuple(value: tuple[Any, ...], writer: Writer) -> object:
    """Write a tuple."""
    return {"$tuple": writer.write_each(value, value, _index)}


def write_set(value: set[Any], writer: Writer) -> object:
    """Write a set."""
    return {"$set": writer.write_each(value, value, lambda _: "[*]")}


def write_frozenset(value: frozenset[Any], writer: Writer) -> object:
    """Write a frozenset."""
    return {"$frozenset": writer.write_each(value, value, lambda _: "[*]")}


def write_deque(value: deque[Any], writer: Writer) -> object:
    """Write a deque with its greatest length."""
    return {"$deque": [value.maxlen, writer.write_each(value, value, _index)]}


def is_plain(key: object) -> bool:
    """Return whether a key of a dict can be a key of a JSON object: Note [Tags]."""
    return type(key) is str and key[:1] != "$" and key.isprintable()


def write_dict(value: dict[Any, Any], writer: Writer) -> object:
    """Write a dict in its order, with keys of any type."""
    if not all(map(is_plain, value)):
        return {"$dict": _write_pairs(value, writer)}
    writer.spend(sum(map(len, value)))
    keys = list(value)
    written = writer.write_each(value, value.values(), lambda i: step(keys[i]))
    return dict(zip(keys, written, strict=True))


def write_ordered(value: OrderedDict[Any, Any], writer: Writer) -> object:
    """Write an OrderedDict."""
    return {"$ordereddict": _write_pairs(value, writer)}


def write_counter(value: Counter[Any], writer: Writer) -> object:
    """Write a Counter."""
    return {"$counter": _write_pairs(value, writer)}


def write_defaultdict(value: defaultdict[Any, Any], writer: Writer) -> object:
    """Write a defaultdict whose factory is a class (or None): code is not sent."""
    factory = value.default_factory
    if factory is not None and not isinstance(factory, type):
        raise Refused(
            "the default_factory of this defaultdict is not a class (such as list); "
            "send dict(value)"
        )
    kind = writer.write_at(".default_factory", factory)
    return {"$defaultdict": [kind, _write_pairs(value, writer)]}


def _write_pairs(value: Mapping[Any, Any], writer: Writer) -> list[object]:
    flat = [part for pair in value.items() for part in pair]

    def where(index: int) -> str:
        return step(flat[index - 1]) if index % 2 else f".keys()[{index // 2}]"

    return writer.write_each(value, flat, where)


def read_tuple(data: list[Any], reader: Reader) -> tuple[Any, ...]:
    """Read a tuple."""
    return tuple(data)


def read_set(data: list[Any], reader: Reader) -> set[Any]:
    """Read a set."""
    return set(data)


def read_frozenset(data: list[Any], reader: Reader) -> frozenset[Any]:
    """Read a frozenset."""
    return frozenset(data)


def read_deque(data: list[Any], reader: Reader) -> deque[Any]:
    """Read a deque."""
    maxlen, values = data
    return deque(values, maxlen)


def read_dict(data: list[Any], reader: Reader) -> dict[Any, Any]:
    """Read a dict with keys of any type."""
    return dict(zip(data[::2], data[1::2], strict=True))


def read_ordered(data: list[Any], reader: Reader) -> OrderedDict[Any, Any]:
    """Read an OrderedDict."""
    return OrderedDict(read_dict(data, reader))


def read_counter(data: list[Any], reader: Reader) -> Counter[Any]:
    """Read a Counter."""
    return Counter(read_dict(data, reader))


def read_defaultdict(data: list[Any], reader: Reader) -> defaultdict[Any, Any]:
    """Read a defaultdict."""
    factory, pairs = data
    if factory is not None and not isinstance(factory, type):
        raise TypeError("the default_factory is not a class")
    return defaultdict(factory, read_dict(pairs, reader))


WRITERS: dict[type, Write] = {
    list: write_list,
    tuple: write_tuple,
    set: write_set,
    frozenset: write_frozenset,
    deque: write_deque,
    dict: write_dict,
    OrderedDict: write_ordered,
    Counter: write_counter,
    defaultdict: write_defaultdict,
}

READERS: dict[str, Read] = {
    "$tuple": read_tuple,
    "$set": read_set,
    "$frozenset": read_frozenset,
    "$deque": read_deque,
    "$dict": read_dict,
    "$ordereddict": read_ordered,
    "$counter": read_counter,
    "$defaultdict": read_defaultdict,
}
