"""The way back from JSON: one look-up for each tagged object (Note [Tags])."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from django.core.exceptions import ValidationError
from django.db.models import Model

from signal_tasks.codec import classes, containers, custom, instances, scalars
from signal_tasks.exceptions import DecodeError

OnMissing: TypeAlias = Literal["reject", "skip", "none"]
Read: TypeAlias = "Callable[[Any, Reader], object]"

_READERS: dict[str, Read] = {
    **scalars.READERS,
    **containers.READERS,
    **classes.READERS,
    **instances.READERS,
    **custom.READERS,
}

# What damaged text, or code that has moved on, makes readers raise. Not Exception:
# a database that is away or a time limit says nothing about the payload.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValidationError,
    ValueError,
)


class Reader:
    """Reads the tagged objects of one payload, innermost first, as JSON is parsed."""

    __slots__ = ("on_missing", "seen")

    def __init__(self, on_missing: OnMissing) -> None:
        self.on_missing = on_missing
        self.seen: dict[tuple[Any, ...], Model | None] = {}

    def read(self, found: dict[str, Any]) -> object:
        """The value that a JSON object stands for: itself, unless it is tagged."""
        if len(found) != 1:
            return found
        ((tag, data),) = found.items()
        return self._read(tag, data) if tag.startswith("$") else found

    def _read(self, tag: str, data: Any) -> object:
        read = _READERS.get(tag)
        if read is None:
            raise DecodeError(f"unknown kind of value {tag!r}")
        try:
            return read(data, self)
        except UNREADABLE as error:
            raise DecodeError(f"cannot read a {tag} value: {error!r}") from error
