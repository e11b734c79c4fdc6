"""Dead letters in groups of the same error, a page of them in few statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, F, OuterRef, Subquery
from django.utils import timezone

from signal_tasks.models import Attempt, Delivery, FailureGroup
from signal_tasks.reports import bounds
from signal_tasks.reports.keyed import key_of
from signal_tasks.reports.moments import moment, word
from signal_tasks.states import State

#: Groups of one page, each of which is counted; dead letters that a group shows.
PAGE, MAX_LETTERS = 20, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """The filters of the list, as the URL has them.

    Attributes:
        receiver: name of a receiver, a part of one, or empty.
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


def groups(
    database: str, wanted: GroupFilter, receivers: Sequence[str] = ()
) -> GroupPage:
    """Return the groups that were seen last; most dead letters first.

    Those of some receivers, which ``wanted.receiver`` stands for, or of all. At most two
    statements, and one for each group of the page.
    """
    rows: Any = FailureGroup.objects.using(database).order_by("-last_seen_at", "pk")
    if receivers:
        rows = rows.filter(receiver__in=receivers)
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
    if receivers:
        letters = letters.filter(receiver__in=receivers)
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
    lasts = _last_of_each(database, fingerprint)
    rows = FailureGroup.objects.using(database).annotate(**lasts)
    row = rows.filter(pk=fingerprint).first()
    if row is None:
        return None
    letters = _letters(database, fingerprint)
    return GroupReport(
        row=row,
        dead=bounds.count(Delivery.objects.using(database).of_group(fingerprint)),
        letters=sorted(letters, key=_died_at, reverse=True),
        sample=_latest(database, [getattr(row, name) for name in lasts]),
    )


def _letters(database: str, fingerprint: str) -> list[Delivery]:
    """Return the dead letters of a group that died last, from its index.

    Each has its ``turn_key``, None if it is in no order.
    """
    last = Attempt.objects.using(database).filter(
        fingerprint=fingerprint,
        consequence=Attempt.Consequence.DEAD,
        delivery__state=State.DEAD,
        delivery__run=F("run"),
    )
    ordered = last.order_by("-pk").select_related("delivery__event")
    rows = ordered.annotate(turn_key=key_of(database, "delivery_id"))[:MAX_LETTERS]
    return [_keyed(attempt.delivery, attempt.turn_key) for attempt in rows]


def _keyed(letter: Any, key: str | None) -> Delivery:
    letter.turn_key = key
    kept: Delivery = letter
    return kept


def _died_at(letter: Delivery) -> datetime:
    return letter.finished_at or timezone.now()


def _last_of_each(database: str, fingerprint: str) -> Mapping[str, Subquery]:
    """Return the id of the last attempt of each consequence, each from the index."""
    attempts = Attempt.objects.using(database).filter(fingerprint=fingerprint)
    return {
        f"last_{each}": Subquery(
            attempts.filter(consequence=each).order_by("-pk").values("pk")[:1]
        )
        for each in Attempt.Consequence.values
    }


def _latest(database: str, ids: Sequence[int | None]) -> Attempt | None:
    """Return the attempt of these that failed last.

    By its id: MariaDB reads all attempts if the ids are subqueries of a condition.
    """
    known = [pk for pk in ids if pk is not None]
    found = Attempt.objects.using(database).in_bulk(known).values()
    return max(found, key=lambda each: (each.failed_at, each.pk), default=None)
