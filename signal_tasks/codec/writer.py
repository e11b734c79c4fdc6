"""Values to JSON: find the function for each type, and stay within the limits."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache

from signal_tasks.codec import (
    classes,
    containers,
    custom,
    dates,
    fields,
    instances,
    quantities,
    records,
    scalars,
    snapshots,
)
from signal_tasks.codec.protocols import Rows, Write
from signal_tasks.codec.refusal import Refused, TooLarge, unknown

MAX_DEPTH = 100

_EXACT: dict[type, Write] = {
    **scalars.WRITERS,
    **dates.WRITERS,
    **containers.WRITERS,
    **fields.WRITERS,
    **snapshots.WRITERS,
}


@lru_cache(maxsize=512)
def _family(kind: type) -> Write | None:
    return (
        instances.writer_for(kind)
        or classes.writer_for(kind)
        or records.writer_for(kind)
        or quantities.writer_for(kind)
    )


def _find(kind: type) -> Write:
    """Return the function for a class that is not in the table of exact types."""
    found = (
        custom.writer_for(kind) or _family(kind) or custom.inherited_writer_for(kind)
    )
    if found is None:
        raise unknown(kind)
    return found


def can_travel(kind: type) -> bool:
    """Return True if the codec knows values of this class."""
    try:
        return bool(_EXACT.get(kind) or _find(kind))
    except Refused:
        return False


class PayloadWriter:
    """Writes the values of one payload in a form that JSON can hold.

    The path to a refused value is put together while the error passes outwards, so
    that it costs nothing without an error. ``left`` counts down from the limit by the
    least length that each value will take: a value that is far too large, or that is
    shared so often that it would become so, is refused early.
    """

    __slots__ = ("_limit", "_open", "left", "rows")

    def __init__(self, limit: int, rows: Rows) -> None:
        self._limit = limit
        self.left = limit
        self.rows = rows
        self._open: set[int] = set()

    def write(self, value: object) -> object:
        """Return the value in a form that JSON can hold."""
        kind = type(value)
        return (_EXACT.get(kind) or _find(kind))(value, self)

    def write_at(self, step: str, value: object) -> object:
        """Do the same for a value that is one step further on the path."""
        try:
            return self.write(value)
        except Refused as refused:
            refused.path = step + refused.path
            refused.argument = step  # the outermost call sets it last
            raise

    def write_each(
        self, owner: object, values: Collection[object], step: Callable[[int], str]
    ) -> list[object]:
        """Do the same for each value in ``owner``; ``step(n)`` is the n-th's step."""
        self._enter(owner, len(values))
        written: list[object] = []
        try:
            for value in values:
                written.append(self.write(value))  # noqa: PERF401 - its length is n
        except Refused as refused:
            refused.path = step(len(written)) + refused.path
            self._open.discard(id(owner))  # the caller may try another way
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
        """Subtract from the length that the text may still have."""
        self.left -= characters
        if self.left < 0:
            raise TooLarge(self._limit)
