"""Dead letters in groups of the same error, a page of them in few statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from signal_tasks.models import Attempt, Delivery, FailureGroup
from signal_tasks.reports import bounds
from signal_tasks.reports.moments import moment, word
from signal_tasks.states import State

#: Groups of one page, each of which is counted; dead letters that a group shows.
PAGE, MAX_LETTERS = 20, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """The filters of the list, as the URL has them.

    Attributes:
        receiver: name of the receiver, or empty.
        every: also groups of which nothing is dead.
        before: only groups that were last seen earlier.
    """

    receiver: str = ""
    every: bool = False
    before: datetime | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, Any]) -> GroupFilter:
        """Read the filters from a URL; what makes no sense is left out."""
        return cls(
            receiver=word(query.get("receiver")),
            every=bool(query.get("every")),
            before=moment(query.get("before")),
        )

    def query(self, before: datetime) -> str:
        """Return the query of the next page."""
        given = {"receiver": self.receiver, "every": "1" if self.every else ""}
        given["before"] = before.isoformat()
        return urlencode({name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """A failure group, and how many dead letters it has now."""

    row: FailureGroup
    dead: bounds.Count


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPage:
    """A page of groups; ``older`` is the query of the next one, if there is one."""

    lines: Sequence[GroupLine]
    dead: bounds.Count
    older: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """A group with its last dead letters and the last failure."""

    row: FailureGroup
    dead: bounds.Count
    letters: Sequence[Delivery]
    sample: Attempt | None


def groups(database: str, wanted: GroupFilter) -> GroupPage:
    """Return the groups that were seen last; most dead letters first.

    At most two statements, and one for each group of the page.
    """
    rows: Any = FailureGroup.objects.using(database).order_by("-last_seen_at", "pk")
    if wanted.receiver:
        rows = rows.filter(receiver=wanted.receiver)
    if wanted.before is not None:
        rows = rows.filter(last_seen_at__lt=wanted.before)
    if not wanted.every:
        dead = Attempt.objects.using(database).filter(
            fingerprint=OuterRef("pk"), consequence=Attempt.Consequence.DEAD
        )
        rows = rows.filter(Exists(dead))
    found = list(rows[: PAGE + 1])
    more, found = len(found) > PAGE, found[:PAGE]
    counted = [_line(database, row) for row in found]
    # What has died may have been replayed since.
    lines = [line for line in counted if line.dead or wanted.every]
    letters = Delivery.objects.using(database).dead()
    if wanted.receiver:
        letters = letters.filter(receiver=wanted.receiver)
    return GroupPage(
        lines=sorted(lines, key=lambda line: line.dead.number, reverse=True),
        dead=bounds.count(letters),
        older=wanted.query(found[-1].last_seen_at) if more else "",
    )


def _line(database: str, row: FailureGroup) -> GroupLine:
    letters = Delivery.objects.using(database).of_group(row.pk)
    return GroupLine(row=row, dead=bounds.count(letters, bounds.FEW_COUNTED))


def row_of(database: str, fingerprint: str) -> FailureGroup | None:
    """Return what is stored of a group, one statement."""
    return FailureGroup.objects.using(database).filter(pk=fingerprint).first()


def group(database: str, fingerprint: str) -> GroupReport | None:
    """Return one group; None if there is none. Four statements."""
    row = row_of(database, fingerprint)
    if row is None:
        return None
    letters = _letters(database, fingerprint)
    return GroupReport(
        row=row,
        dead=bounds.count(Delivery.objects.using(database).of_group(fingerprint)),
        letters=sorted(letters, key=_died_at, reverse=True),
        sample=_sample(database, fingerprint),
    )


def _letters(database: str, fingerprint: str) -> list[Delivery]:
    """Return the dead letters of a group that were sent last, from its index."""
    last = Attempt.objects.using(database).filter(
        fingerprint=fingerprint,
        consequence=Attempt.Consequence.DEAD,
        delivery__state=State.DEAD,
        delivery__run=F("run"),
    )
    ordered = last.order_by("-delivery_id", "-run").select_related("delivery__event")
    return [attempt.delivery for attempt in ordered[:MAX_LETTERS]]


def _died_at(letter: Delivery) -> datetime:
    return letter.finished_at or timezone.now()


def _sample(database: str, fingerprint: str) -> Attempt | None:
    """Return an attempt of the delivery that was sent last, one that died if any did."""
    found = Attempt.objects.using(database).filter(fingerprint=fingerprint)
    ordered = found.order_by("-consequence", "-delivery_id", "-run")
    dead = ordered.filter(consequence=Attempt.Consequence.DEAD)
    return dead.first() or ordered.first()
