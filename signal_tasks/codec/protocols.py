"""The types that the modules of the codec share; nothing here runs.

They stand in a module of their own so that the modules that write and read values
need not import the two classes that call them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from django.db.models import Model

OnMissing: TypeAlias = Literal["reject", "skip", "none"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The form in which model instances travel.

    ``databases`` are the aliases of databases that are written to: no replica is one of
    them. With ``snapshot`` each instance travels as it is, not by reference.
    """

    databases: Collection[str] = ()
    snapshot: bool = False


class Writer(Protocol):
    """The parts of a ``PayloadWriter`` that functions of type ``Write`` use."""

    left: int
    rows: Rows

    def write(self, value: object) -> object:
        """Return the value in a form that JSON can hold."""

    def write_at(self, step: str, value: object) -> object:
        """Do the same for a value that is one step further on the path."""

    def write_each(
        self, owner: object, values: Collection[object], step: Callable[[int], str]
    ) -> list[object]:
        """Do the same for each of the values that ``owner`` consists of."""

    def spend(self, characters: int) -> None:
        """Subtract from the length that the text may still have."""


class Reader(Protocol):
    """The parts of a ``PayloadReader`` that functions of type ``Read`` use."""

    on_missing: OnMissing
    seen: dict[tuple[Any, ...], Model | None]


Write: TypeAlias = Callable[[Any, Writer], object]
Read: TypeAlias = Callable[[Any, Reader], object]
