"""Open operations: a row in each outbox, and an entry in the audit trail."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import QuerySet

from signal_tasks import audit, models
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import uuid7
from signal_tasks.operations.handle import Operation, find, open_key
from signal_tasks.registry.options import per_second
from signal_tasks.selection import Selection

Kind = models.Operation.Kind
#: Above so many deliveries, replay and backfill go in the steps of a canary.
CANARY_ABOVE = 100
#: More ids than this do not fit on a command line.
MAX_SHOWN_IDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An operation that somebody asks for."""

    kind: str
    selection: Selection
    canary: bool | None = None
    rate: str | int | float | None = None
    reason: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        if self.rate is not None:
            per_second(self.rate)

    def row(self, pk: uuid.UUID, *, canary: bool) -> models.Operation:
        """Return the row of the operation, which is not written yet."""
        return models.Operation(
            pk=pk,
            kind=self.kind,
            stored_selection=self.selection.to_json(),
            open_key=open_key(self.kind, self.selection),
            canary=canary,
            rate="" if self.rate is None else str(self.rate),
            reason=self.reason,
            by=self.by,
        )

    def act(self, pk: uuid.UUID) -> audit.Act:
        """Return the act, for the audit trail."""
        return audit.Act(
            verb=self.kind,
            target=self.selection.words_for(self.kind),
            by=self.by,
            reason=self.reason,
            operation_id=pk,
            command=self._command(),
        )

    def _command(self) -> str:
        ids = [str(pk) for pk in self.selection.ids]
        if len(ids) > MAX_SHOWN_IDS:
            return ""
        options: dict[str, object] = {**self.selection.options()}
        options |= {"rate": self.rate, "because": self.reason}
        options["all"] = self.selection.is_empty
        if self.kind != Kind.DISCARD and self.canary is not None:
            options["canary" if self.canary else "no_canary"] = True
        return audit.command_line(self.kind, *ids, **options)


def open_operation(
    plan: Plan, rows: Callable[[str], QuerySet[Any]], *, dry_run: bool
) -> Operation:
    """Open the operation, in each outbox that has something for it."""
    if dry_run:
        return _rehearsed(plan, sum(rows(each).count() for each in outbox_aliases()))
    most = CANARY_ABOVE + 1
    counts = {each: rows(each).order_by()[:most].count() for each in outbox_aliases()}
    canary = plan.canary
    if canary is None:
        canary = sum(counts.values()) > CANARY_ABOVE
    concerned = [each for each, count in counts.items() if count]
    pk = _write(plan, concerned or outbox_aliases()[:1], canary=canary)
    operation = find(pk)
    if operation is None:
        raise OperationalError(
            f"The same {plan.kind} was opened since this transaction began, which "
            "cannot see it: try again in a new transaction."
        )
    return operation


def _rehearsed(plan: Plan, total: int) -> Operation:
    return Operation(
        id=uuid7(),
        kind=plan.kind,
        selection=plan.selection,
        total=total,
        canary=plan.canary if plan.canary is not None else total > CANARY_ABOVE,
        reason=plan.reason,
        by=plan.by,
    )


def _write(plan: Plan, databases: Collection[str], *, canary: bool) -> uuid.UUID:
    """Write what is missing of the operation; return its id.

    A second call with the same plan completes what a crash between two outboxes has
    left out.
    """
    found = _open_ids(plan)
    pk = next(iter(found.values()), None) or uuid7()
    is_new = not found
    for database in databases:
        if database not in found:
            row = plan.row(pk, canary=canary)
            pk = _insert(row, plan.act(pk) if is_new else None, plan, database)
            is_new = False
    return pk


def _insert(
    row: models.Operation, act: audit.Act | None, plan: Plan, database: str
) -> uuid.UUID:
    """Insert the row; return its id, or that of the same one if it is open already.

    Tried twice, since that one may have finished before it is looked for. Under
    REPEATABLE READ it may not be seen.
    """
    for _ in range(2):
        try:
            with transaction.atomic(using=database):
                row.save(using=database, force_insert=True)
                if act is not None:
                    audit.record(act, database=database)
        except IntegrityError:  # somebody else was first
            pk = _open_ids(plan, locked=True).get(database)
        else:
            pk = row.pk
        if pk is not None:
            return pk
    return row.pk


def _open_ids(plan: Plan, *, locked: bool = False) -> Mapping[str, uuid.UUID]:
    """Return the id of the same open operation, by outbox.

    ``locked`` finds what was committed after the caller's transaction has begun.
    """
    key = open_key(plan.kind, plan.selection)
    found = {}
    for database in outbox_aliases():
        rows = models.Operation.objects.using(database).filter(open_key=key)
        with transaction.atomic(using=database) if locked else nullcontext():
            some = rows.select_for_update() if locked else rows
            for pk in some.values_list("pk", flat=True):
                found[database] = pk
    return found
