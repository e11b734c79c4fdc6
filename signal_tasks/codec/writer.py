"""The walk from a value to JSON: dispatch on its type, and keep within bounds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, TypeAlias

from signal_tasks.codec import classes, containers, custom, instances, scalars
from signal_tasks.codec.refusal import Refused, unknown

MAX_DEPTH = 100

Write: TypeAlias = "Callable[[Any, Writer], object]"

_EXACT: dict[type, Write] = {
    **scalars.WRITERS,
    **containers.WRITERS,
    **instances.WRITERS,
}


@lru_cache(maxsize=512)
def _family(kind: type) -> Write | None:
    return instances.writer_for(kind) or classes.writer_for(kind)


def _find(kind: type) -> Write:
    """How to write a class that is not in the table of exact types."""
    found = (
        custom.writer_for(kind) or _family(kind) or custom.inherited_writer_for(kind)
    )
    if found is None:
        raise unknown(kind)
    return found


class TooLarge(Refused):
    """The payload would be longer than it may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the payload is longer than {limit} bytes; send a key to the data instead "
            "(a model instance travels as one), or raise "
            'SIGNAL_TASKS["MAX_PAYLOAD_BYTES"]'
        )


class Writer:
    """Turns the values of one payload into what JSON can say.

    The path to a refused value is built on the way out, so that it costs nothing
    when all is well. What is spent is a lower bound of the text to come: a value that
    is far too large, or shared so often that it would be, is given up early.
    """

    __slots__ = ("_left", "_limit", "_open")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._open: set[int] = set()

    def write(self, value: object) -> object:
        """What JSON can say of the value."""
        kind = type(value)
        return (_EXACT.get(kind) or _find(kind))(value, self)

    def write_at(self, step: str, value: object) -> object:
        """The same for a value found one step further on the path."""
        try:
            return self.write(value)
        except Refused as refused:
            refused.path = step + refused.path
            raise

    def write_each(
        self, owner: object, values: Collection[object], step: Callable[[int], str]
    ) -> list[object]:
        """The same for the values that make up ``owner``; ``step`` names the n-th."""
        self._enter(owner, len(values))
        written: list[object] = []
        try:
            for value in values:
                written.append(self.write(value))  # noqa: PERF401 - its length is n
        except Refused as refused:
            refused.path = step(len(written)) + refused.path
            raise
        self._open.discard(id(owner))
        return written

    def _enter(self, owner: object, count: int) -> None:
        if id(owner) in self._open:
            raise Refused("it contains itself; a cycle cannot travel")
        if len(self._open) >= MAX_DEPTH:
            raise Refused(f"it is nested deeper than {MAX_DEPTH} levels; flatten it")
        self.spend(2 * count)
        self._open.add(id(owner))

    def spend(self, characters: int) -> None:
        """Count what the text will have at least; refuse when that is too much."""
        self._left -= characters
        if self._left < 0:
            raise TooLarge(self._limit)
