"""Controls that are in force, and how one is set and ended: for pauses and limits.

Each change writes to all databases that hold an outbox, one after the other, each with an
audit entry: in the transaction that the caller has open there, or in one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.expressions import Combinable
from django.utils import timezone

from signal_tasks.audit import Act, record
from signal_tasks.db.aliases import alias_for, outbox_aliases
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.exceptions import NotInForce
from signal_tasks.models import Control
from signal_tasks.steering.snapshot import forget
from signal_tasks.steering.targets import names_of
from signal_tasks.validation import MAX_SECONDS

#: When a control expires: at a moment, or after so long by the database's clock.
Until = datetime | timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlInForce:
    """A pause or a limit that is in force.

    Attributes:
        kind: ``"pause"`` or ``"limit"``.
        target: ``*``, ``receiver:NAME``, ``signal:NAME`` or ``queue:NAME``.
        reason: why, as somebody has put it.
        by: the name of who has set it.
        since: when it was first set.
        until: when it expires; None if it does not.
        rate: of a limit, as text; empty if it sets none.
        max_concurrency: of a limit; None if it sets none.
        databases: aliases of the outboxes in which it is in force.
    """

    kind: str
    target: str
    reason: str
    by: str
    since: datetime
    until: datetime | None
    rate: str
    max_concurrency: int | None
    databases: tuple[str, ...]


def controls(*, database: str | None = None) -> list[ControlInForce]:
    """Return the pauses and limits that are in force, by kind and target.

    Args:
        database: only those of this outbox; ask so while another one is down.

    Raises:
        ImproperlyConfigured: the database holds no outbox.
    """
    found: dict[tuple[str, str], ControlInForce] = {}
    for alias in [alias_for(database, None)] if database else outbox_aliases():
        for row in _in_force(alias):
            known = found.get((row.kind, row.target))
            before = known.databases if known is not None else ()
            value = known or _value(row)
            value = replace(value, databases=(*before, alias))
            found[row.kind, row.target] = value
    return [found[key] for key in sorted(found)]


def put(kind: Control.Kind, act: Act, **values: Any) -> None:
    """Set a control for the target of an act, or change the one that is set.

    An expired one is replaced. One under a former name is changed as well: until a
    deploy is over, older workers know no other. Writes the audit entry, too.
    """
    values = {"until": None, **values, "reason": act.reason, "by": act.by}
    names = names_of(act.target)
    for database in outbox_aliases():
        rows = Control.objects.using(database).filter(kind=kind, target__in=names)
        with transaction.atomic(using=database):
            rows.filter(until__lte=DatabaseNow()).delete()
            rows.update(**values)
            rows.update_or_create(kind=kind, target=act.target, defaults=values)
            record(act, database=database)
        _changed(database)


def drop(kind: Control.Kind, act: Act, *, what: str) -> None:
    """Delete the control of the target of an act, under any name; write the audit entry.

    Raises:
        NotInForce: there is none. ``what`` is the word for a target that has one.
    """
    rows = {name: Control.objects.using(name) for name in outbox_aliases()}
    mine = Q(kind=kind, target__in=names_of(act.target))
    if not any(each.filter(mine).exists() for each in rows.values()):
        others = [each.target for each in controls() if each.kind == kind]
        raise NotInForce(act.target, what, others)
    for database, each in rows.items():
        with transaction.atomic(using=database):
            deleted, _ = each.filter(mine).delete()
            if deleted:
                record(act, database=database)
        _changed(database)


def expiry(until: Until) -> datetime | Combinable | None:
    """Return when a control expires, as a value for its row.

    Raises:
        ValueError: that is over, has no time zone, or is a hundred years away.
        TypeError: it is neither a moment nor a duration.
    """
    if until is None:
        return None
    wanted = f"until is {until!r}; give a datetime with a time zone, or a timedelta"
    if isinstance(until, timedelta):
        seconds = until.total_seconds()
    elif not isinstance(until, datetime):
        raise TypeError(wanted)
    elif timezone.is_naive(until):
        raise ValueError(wanted)
    else:
        seconds = (until - timezone.now()).total_seconds()
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"until is {until!r}; give a time in the next hundred years")
    return from_now(seconds) if isinstance(until, timedelta) else until


def shown(until: Until) -> str | None:
    """Return the moment at which a control expires as text for the audit trail."""
    if isinstance(until, timedelta):
        until = timezone.now() + until
    return until.isoformat(timespec="seconds") if until is not None else None


def _changed(database: str) -> None:
    """Have this process see the change now, and again once it is committed."""
    forget(database)
    transaction.on_commit(lambda: forget(database), using=database, robust=True)


def _in_force(database: str) -> Iterator[Control]:
    in_force = Q(until=None) | Q(until__gt=DatabaseNow())
    yield from Control.objects.using(database).filter(in_force)


def _value(row: Control) -> ControlInForce:
    return ControlInForce(
        kind=row.kind,
        target=row.target,
        reason=row.reason,
        by=row.by,
        since=row.created_at,
        until=row.until,
        rate=row.rate,
        max_concurrency=row.max_concurrency,
        databases=(),
    )
