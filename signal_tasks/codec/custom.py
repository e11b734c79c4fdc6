"""Types that the application registers with the codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from signal_tasks.codec.containers import WRITERS as CONTAINERS
from signal_tasks.codec.dates import WRITERS as DATES
from signal_tasks.codec.protocols import Read, Reader, Write, Writer
from signal_tasks.codec.refusal import Refused
from signal_tasks.codec.scalars import WRITERS as SCALARS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Custom:
    """A registered type: its name in payloads, its encoder and its decoder."""

    cls: type
    name: str
    encode: Callable[[Any], object]
    decode: Callable[[Any], object]

    def write(self, value: object, writer: Writer) -> object:
        """Write the name, and the value that ``encode`` returns."""
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

    Every process that sends or receives must register the same. A class that is
    registered again, also by a module that was reloaded, replaces what was there.

    Args:
        cls: the type.
        encode: returns, for a value of the type, any value that can travel.
        decode: returns, for that value, the one that arrives.
        name: stands in stored payloads: give one that stays when the class moves;
            by default ``module:qualname``.

    Raises:
        ValueError: the codec carries the class already, or another class has that name.
    """
    if cls in SCALARS or cls in DATES or cls in CONTAINERS:
        raise ValueError(f"{cls.__name__} travels already")
    name = name or _qualified(cls)
    taken = _by_name.get(name)
    if taken is not None and taken.cls is not cls:
        _replace(taken, cls)
    _by_class[cls] = _by_name[name] = Custom(cls, name, encode, decode)


def _replace(taken: Custom, cls: type) -> None:
    """Forget the class that a reloaded module has defined again; refuse any other."""
    if _qualified(taken.cls) != _qualified(cls):
        raise ValueError(
            f"the name {taken.name!r} is taken by {_qualified(taken.cls)}, so "
            f"{_qualified(cls)} cannot have it; give one of them another name="
        )
    _by_class.pop(taken.cls, None)


def _qualified(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def writer_for(kind: type) -> Write | None:
    """Return the function that writes this very class, if it was registered."""
    found = _by_class.get(kind)
    return found.write if found else None


def inherited_writer_for(kind: type) -> Write | None:
    """Return the function of the nearest registered base of this class."""
    return next(filter(None, map(writer_for, kind.__mro__)), None)


def read_custom(data: list[Any], reader: Reader) -> object:
    """Read a value of a registered type."""
    name, inner = data
    return _by_name[name].decode(inner)


READERS: dict[str, Read] = {"$type": read_custom}
