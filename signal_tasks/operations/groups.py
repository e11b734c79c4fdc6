"""Failure groups: what fails, how often, how much of it is dead, and notes on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef

from signal_tasks import audit, models
from signal_tasks.db.aliases import alias_for, outbox_aliases
from signal_tasks.models import Attempt, Delivery

#: Dead letters of a group that are counted, in each outbox.
MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures of one receiver that have the same cause.

    Attributes:
        fingerprint: of the cause, for ``Selection(fingerprint=...)``.
        receiver: name of the receiver.
        error_type: of the error, with its module unless it is Python's own.
        location: innermost function of the project's own code; empty if there is none.
        sample: text of the first error.
        failures: number of failed attempts.
        dead: number of dead letters whose last attempt is of the group.
        dead_is_capped: there are more than ``dead`` says.
        first_seen: when the first of the attempts was recorded.
        last_seen: when the last of them was.
        note: text of an operator, or empty.
    """

    fingerprint: str
    receiver: str
    error_type: str
    location: str
    sample: str
    failures: int
    dead: int
    dead_is_capped: bool
    first_seen: datetime
    last_seen: datetime
    note: str


def failure_groups(
    *, receiver: str | None = None, database: str | None = None
) -> list[FailureGroup]:
    """Return the failure groups, those with the most dead letters first.

    One statement for each outbox, and one for each group with dead letters, which
    counts up to 10,000 of them.

    Args:
        receiver: only those of the receiver of this name.
        database: only those of this outbox; by default of all, as sums.

    Raises:
        ImproperlyConfigured: the database holds no outbox.
    """
    found: dict[str, FailureGroup] = {}
    for name in [alias_for(database, None)] if database else outbox_aliases():
        for group in _groups(receiver, name):
            other = found.get(group.fingerprint)
            found[group.fingerprint] = _sum(other, group) if other else group
    return sorted(found.values(), key=_urgency, reverse=True)


def _urgency(group: FailureGroup) -> tuple[int, datetime]:
    return group.dead, group.last_seen


def _groups(receiver: str | None, database: str) -> Iterator[FailureGroup]:
    rows: Any = models.FailureGroup.objects.using(database)
    if receiver is not None:
        rows = rows.filter(receiver=receiver)
    dead = Attempt.objects.using(database).filter(
        fingerprint=OuterRef("pk"), consequence=Attempt.Consequence.DEAD
    )
    for row in rows.annotate(has_dead=Exists(dead)):
        yield _group(row, _count_dead(row.pk, database) if row.has_dead else 0)


def _count_dead(fingerprint: str, database: str) -> int:
    """Return how many dead letters a group has, or one more than ``MAX_COUNTED``."""
    rows = Delivery.objects.using(database).of_group(fingerprint).order_by()
    return int(rows[: MAX_COUNTED + 1].count())


def _group(row: models.FailureGroup, dead: int) -> FailureGroup:
    return FailureGroup(
        fingerprint=row.fingerprint,
        receiver=row.receiver,
        error_type=row.error_type,
        location=row.location,
        sample=row.sample,
        failures=row.failures,
        dead=min(dead, MAX_COUNTED),
        dead_is_capped=dead > MAX_COUNTED,
        first_seen=row.first_seen_at,
        last_seen=row.last_seen_at,
        note=row.note,
    )


def _sum(one: FailureGroup, other: FailureGroup) -> FailureGroup:
    first = min(one, other, key=lambda each: each.first_seen)
    return replace(
        first,
        failures=one.failures + other.failures,
        dead=one.dead + other.dead,
        dead_is_capped=one.dead_is_capped or other.dead_is_capped,
        last_seen=max(one.last_seen, other.last_seen),
        note="\n".join(_different(one.note, other.note)),
    )


def _different(*notes: str) -> Iterable[str]:
    return dict.fromkeys(note for note in notes if note)


def annotate(fingerprint: str, note: str, *, by: Any = None) -> None:
    """Write a note on a failure group, in place of an earlier one; "" removes it.

    A group with a note is not pruned. In the caller's transaction, or in one for each
    outbox, with an entry in the audit trail.

    Args:
        fingerprint: of the group.
        note: any text.
        by: the user, or the name, of who writes it.

    Raises:
        LookupError: no outbox has such a group.
        ValueError: the note cannot be stored.
    """
    if "\0" in note:
        raise ValueError("a note cannot hold NUL characters")
    act = audit.Act(
        verb="annotate",
        target=f"group {fingerprint}",
        by=audit.name_of(by),
        reason=note,
        command=audit.command_line("note", fingerprint, note),
    )
    if not sum([_annotate(act, fingerprint, name) for name in outbox_aliases()]):
        raise LookupError(f"There is no failure group {fingerprint!r}.")


def _annotate(act: audit.Act, fingerprint: str, database: str) -> int:
    with transaction.atomic(using=database):
        rows = models.FailureGroup.objects.using(database).filter(pk=fingerprint)
        changed = rows.update(note=act.reason)
        if changed:
            audit.record(act, database=database)
    return changed
