"""The rows of a channel: whose turn it is, what is due, what was told.

See Note [Alerts] in ``alerting``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urljoin

from signal_tasks import counting
from signal_tasks.alert import Alert, AlertOptions
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.timeouts import statements_within
from signal_tasks.healthcheck import MAX_SECONDS, live_workers
from signal_tasks.healthcheck.problem import Problem
from signal_tasks.healthcheck.problems import problems
from signal_tasks.models import OpenAlert

#: How long a turn lasts. Who fails to send keeps it: that is the pause before the next
#: try (seconds).
TURN_SECONDS = 60.0

#: Problems by their keys.
Found = Mapping[str, Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A message that is due: the alert, and the row to be written once it is told."""

    alert: Alert
    row: OpenAlert
    problem: Problem | None  # None: it is over


def look(database: str) -> Found:
    """Return the problems of an outbox; those that are told as one are put together.

    Raises:
        TooSlow: a statement took longer than ``health()`` lets it.
    """
    found: dict[str, Problem] = {}
    for each in _problems(database):
        key = _key(each)
        if before := found.get(key):
            text, number = f"{before.text}\n{each.text}", before.number + 1
            each = replace(before, text=text, number=number)
        found[key] = each
    return found


def _problems(database: str) -> list[Problem]:
    with statements_within(MAX_SECONDS, database):
        live = live_workers(database)
        return list(problems(database, live, counting.loads(database)))


def _key(problem: Problem) -> str:
    text = f"{problem.kind} {problem.subject}"
    return hashlib.sha256(text.encode()).hexdigest()


def take_turn(channel: str, database: str) -> bool:
    """Take the turn of a channel, unless somebody else has it."""
    rows = OpenAlert.objects.using(database)
    turn = rows.filter(channel=channel, key=OpenAlert.TURN)
    over = turn.filter(due_at__lte=DatabaseNow())
    if over.update(due_at=from_now(TURN_SECONDS)):
        return True
    if turn.exists():
        return False
    new = OpenAlert(channel=channel, key=OpenAlert.TURN)
    rows.bulk_create([new], ignore_conflicts=True)
    return bool(over.update(due_at=from_now(TURN_SECONDS)))


def end_turn(channel: str, database: str, *, after: float) -> None:
    """Let the next turn begin after so many seconds."""
    turn = OpenAlert.objects.using(database).filter(channel=channel, key=OpenAlert.TURN)
    turn.update(due_at=from_now(after))


def due(channel: str, found: Found, options: AlertOptions, database: str) -> list[Due]:
    """Return what is to be told now; remember what was not seen before."""
    rows = _rows(channel, database)
    _remember(channel, found, options, database)
    messages = []
    for row in rows.filter(due_at__lte=DatabaseNow()).order_by("pk"):
        problem = found.get(row.key)
        if problem is None and not row.told:
            rows.filter(pk=row.pk, told=False).delete()
        elif problem is None or not row.told or _is_news(problem, row):
            alert = _alert(row, problem, options, database)
            messages.append(Due(alert=alert, row=row, problem=problem))
    return messages


def record(told: Due, options: AlertOptions, database: str) -> None:
    """Write that this was told, unless somebody has written it meanwhile."""
    row, problem = told.row, told.problem
    rows = _rows(told.row.channel, database)
    still = rows.filter(pk=row.pk, told=row.told, due_at__lte=DatabaseNow())
    if problem is None:
        still.update(told=False, due_at=from_now(options.COOLDOWN))
        return
    still.update(
        told=True,
        due_at=from_now(options.COOLDOWN),
        text=problem.text,
        page=problem.page,
        number=problem.number,
        latest=problem.latest,
    )


def _rows(channel: str, database: str) -> Any:
    rows = OpenAlert.objects.using(database)
    return rows.filter(channel=channel).exclude(key=OpenAlert.TURN)


def _remember(channel: str, found: Found, options: AlertOptions, database: str) -> None:
    rows = _rows(channel, database)
    known = {row.key: row for row in rows}
    for key in known.keys() & found.keys():
        row, number = known[key], found[key].number
        if row.is_over:
            _open_again(rows.filter(pk=row.pk, told=False), options)
        elif number < row.number:  # another one that comes then is news
            rows.filter(pk=row.pk).update(number=number)
    new = [
        OpenAlert(
            channel=channel,
            key=key,
            kind=problem.kind,
            subject=problem.subject,
            due_at=from_now(options.AFTER),
        )
        for key, problem in found.items()
        if key not in known
    ]
    if new:
        OpenAlert.objects.using(database).bulk_create(new, ignore_conflicts=True)


def _open_again(row: Any, options: AlertOptions) -> None:
    """Have it told as a new one, and not before its cooldown is over."""
    due_at = from_now(options.AFTER)
    row.filter(due_at__lt=due_at).update(due_at=due_at)
    row.update(text="", since=DatabaseNow())


def _is_news(problem: Problem, row: OpenAlert) -> bool:
    """Return True if there is more of it than was told, or something later."""
    if problem.number > row.number:
        return True
    if problem.latest is None:
        return False
    return row.latest is None or problem.latest > row.latest


def _alert(
    row: OpenAlert, problem: Problem | None, options: AlertOptions, database: str
) -> Alert:
    return Alert(
        kind=row.kind,
        subject=row.subject,
        database=database,
        text=row.text if problem is None else problem.text,
        url=link(row.page if problem is None else problem.page, options, database),
        since=row.since,
        is_over=problem is None,
    )


def link(page: str, options: AlertOptions, database: str) -> str:
    """Return the address of a page of the dashboard, of this outbox."""
    if not options.URL:
        return ""
    base = options.URL.rstrip("/") + "/"
    which = f"?database={quote(database)}" if len(outbox_aliases()) > 1 else ""
    return urljoin(base, quote(page)) + which
