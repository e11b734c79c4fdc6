"""Operations and the audit trail of one outbox, as lists with filters."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

from signal_tasks.models import AuditEntry, Operation
from signal_tasks.relay.changes import selection_of
from signal_tasks.reports.moments import id_of, word
from signal_tasks.states import OPEN

#: Rows of one page.
PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLine:
    """One operation, its selection in words."""

    row: Operation
    words: str

    @property
    def is_open(self) -> bool:
        """True while relays work at it, or will."""
        return self.row.state in OPEN

    @property
    def over(self) -> int:
        """Deliveries that it is done with, in whatever way."""
        return self.row.done + self.row.failed + self.row.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPage:
    """A page of operations; ``older`` is the id before which the next one begins."""

    lines: Sequence[OperationLine]
    older: uuid.UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailFilter:
    """The filters of the audit trail, as the URL has them.

    Attributes:
        verb: what was done.
        by: who did it.
        operation: id of the operation.
        before: key of an entry; only older ones are listed.
    """

    verb: str = ""
    by: str = ""
    operation: uuid.UUID | None = None
    before: int | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, Any]) -> Self:
        """Read the filters from a URL; what makes no sense is left out."""
        before = str(query.get("before", ""))
        is_key = before.isascii() and before.isdecimal() and len(before) < MAX_DIGITS
        return cls(
            verb=word(query.get("verb")),
            by=word(query.get("by")),
            operation=id_of(query.get("operation")),
            before=int(before) if is_key else None,
        )

    def query(self, before: int) -> str:
        """Return the query of the next page."""
        given = {"verb": self.verb, "by": self.by, "operation": self.operation}
        given["before"] = str(before)
        return urlencode({name: value for name, value in given.items() if value})


#: No key has as many digits.
MAX_DIGITS = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailPage:
    """A page of the audit trail; ``older`` is the query of the next one."""

    entries: Sequence[AuditEntry]
    older: str = ""


def operations(database: str, before: uuid.UUID | None = None) -> OperationPage:
    """Return the latest operations; one statement."""
    rows = Operation.objects.using(database).order_by("-pk")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows[: PAGE + 1])
    more, found = len(found) > PAGE, found[:PAGE]
    lines = [OperationLine(row=row, words=_words(row)) for row in found]
    return OperationPage(lines=lines, older=found[-1].pk if more else None)


def trail(database: str, wanted: TrailFilter) -> TrailPage:
    """Return what operators did last; one statement."""
    conditions: dict[str, Any] = {
        "verb": wanted.verb,
        "by": wanted.by,
        "operation_id": wanted.operation,
        "pk__lt": wanted.before,
    }
    given = {name: value for name, value in conditions.items() if value}
    rows = AuditEntry.objects.using(database).filter(**given).order_by("-pk")
    found = list(rows[: PAGE + 1])
    more, found = len(found) > PAGE, found[:PAGE]
    return TrailPage(entries=found, older=wanted.query(found[-1].pk) if more else "")


def _words(row: Operation) -> str:
    try:
        return selection_of(row).words_for(row.kind)
    except (ValueError, TypeError):  # somebody has damaged it
        return row.stored_selection
