"""JSON to values: find the function for each tag (Note [Tags])."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

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
from signal_tasks.codec.protocols import OnMissing, Read
from signal_tasks.codec.refusal import DATA_ERRORS, shortened
from signal_tasks.exceptions import DecodeError

_READERS: dict[str, Read] = {
    **scalars.READERS,
    **dates.READERS,
    **containers.READERS,
    **classes.READERS,
    **fields.READERS,
    **instances.READERS,
    **snapshots.READERS,
    **quantities.READERS,
    **records.READERS,
    **custom.READERS,
}


class PayloadReader:
    """Reads the tagged objects of one payload, the innermost first."""

    __slots__ = ("on_missing", "seen")

    def __init__(self, on_missing: OnMissing) -> None:
        self.on_missing = on_missing
        self.seen: dict[tuple[Any, ...], Model | None] = {}

    def read(self, found: dict[str, Any]) -> object:
        """Return the value of a tagged object; an object without a tag is a dict."""
        if len(found) != 1:
            return found
        ((tag, data),) = found.items()
        return self._read(tag, data) if tag.startswith("$") else found

    def _read(self, tag: str, data: Any) -> object:
        read = _READERS.get(tag)
        if read is None:
            raise DecodeError(f"unknown kind of value {shortened(tag)!r}")
        try:
            return read(data, self)
        except DATA_ERRORS as error:
            problem = shortened(repr(error))
            raise DecodeError(f"cannot read a {tag} value: {problem}") from error
