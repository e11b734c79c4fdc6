"""Types that the application teaches the codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from signal_tasks.codec.containers import WRITERS as CONTAINERS
from signal_tasks.codec.refusal import Refused
from signal_tasks.codec.scalars import WRITERS as SCALARS

if TYPE_CHECKING:
    from signal_tasks.codec.reader import Read, Reader
    from signal_tasks.codec.writer import Write, Writer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Custom:
    """A registered type: its name in payloads, and the way there and back."""

    cls: type
    name: str
    encode: Callable[[Any], object]
    decode: Callable[[Any], object]

    def write(self, value: object, writer: Writer) -> object:
        """The name, and what ``encode`` makes of the value: itself any value."""
        try:
            inner = self.encode(value)
        except (TypeError, ValueError) as error:
            raise Refused(f"the encoder of {self.name} failed: {error}") from error
        return {"$type": [self.name, *writer.write_each(value, [inner], lambda _: "")]}


_by_class: dict[type, Custom] = {}
_by_name: dict[str, Custom] = {}


def register_type(
    cls: type[T],
    *,
    encode: Callable[[T], object],
    decode: Callable[[Any], T],
    name: str | None = None,
) -> None:
    """Let values of ``cls`` travel, and of its subclasses that nothing else carries.

    Every process that sends or receives must register the same.

    Args:
        cls: the type.
        encode: makes of a value any value that travels.
        decode: makes of that the value that arrives.
        name: stands in stored payloads: give one that outlives a move of the class;
            by default ``module:qualname``.

    Raises:
        ValueError: the class travels already, or another has that name.
    """
    if cls in SCALARS or cls in CONTAINERS:
        raise ValueError(f"{cls.__name__} travels already")
    name = name or f"{cls.__module__}:{cls.__qualname__}"
    taken = _by_name.get(name)
    if taken is not None and taken.cls is not cls:
        raise ValueError(f"the name {name!r} is taken by {taken.cls.__qualname__}")
    _by_class[cls] = _by_name[name] = Custom(cls, name, encode, decode)


def writer_for(kind: type) -> Write | None:
    """How to write instances of this very class, if it was registered."""
    found = _by_class.get(kind)
    return found.write if found else None


def inherited_writer_for(kind: type) -> Write | None:
    """How to write instances of the nearest registered base of this class."""
    return next(filter(None, map(writer_for, kind.__mro__)), None)


def read_custom(data: list[Any], reader: Reader) -> object:
    """A value of a registered type."""
    name, inner = data
    return _by_name[name].decode(inner)


READERS: dict[str, Read] = {"$type": read_custom}
