"""An operation as its caller sees it: one, whatever the number of outboxes."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain, repeat
from typing import Any, Self

from django.db import IntegrityError, transaction

from signal_tasks import audit, models
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.relay import operating
from signal_tasks.relay.changes import selection_of
from signal_tasks.selection import Selection
from signal_tasks.states import OPEN, OperationState
from signal_tasks.validation import as_id

#: Times between two looks of ``wait`` (seconds); the last one is repeated.
LOOKS = (0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(slots=True, eq=False)
class Operation:
    """An operation as it was when the object was made or last refreshed.

    It has a row of the same id in each outbox that it is for; numbers are sums.

    Attributes:
        id: of the operation.
        kind: ``replay``, ``discard`` or ``backfill``.
        selection: the deliveries that it is for; of a backfill, the events.
        state: ``pending``, ``running``, ``stopped``, ``cancelled`` or ``done``.
        total: number of deliveries, None until relays have collected them.
        done: deliveries that were changed, and have not failed again in a canary.
        failed: those that could not be changed, or have failed again in a canary.
        skipped: those that were in another state by then, or in another operation.
        canary: whether it goes in growing steps, each only after the success of the
            last one.
        rate: deliveries a second, a minute or an hour, as it was given; or empty.
        reason: why it was asked for.
        by: who asked for it.
        note: why it was stopped, or the last error.
        created_at: time of the call.
        finished_at: when it was done, cancelled or stopped, or None.
    """

    id: uuid.UUID
    kind: str
    selection: Selection
    state: OperationState = OperationState.PENDING
    total: int | None = None
    done: int = 0
    failed: int = 0
    skipped: int = 0
    canary: bool = False
    rate: str = ""
    reason: str = ""
    by: str = ""
    note: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None
    _databases: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, found: Mapping[str, models.Operation]) -> Self:
        """Return the operation of these rows, by outbox."""
        row = next(iter(found.values()))
        operation = cls(
            id=row.pk,
            kind=row.kind,
            selection=selection_of(row),
            canary=row.canary,
            rate=row.rate,
            reason=row.reason,
            by=row.by,
        )
        operation._copy(found)
        return operation

    @property
    def is_open(self) -> bool:
        """True while relays work at it, or will."""
        return self.state in OPEN

    @property
    def databases(self) -> tuple[str, ...]:
        """The outboxes in which it has a row; none for a dry run."""
        return self._databases

    def __str__(self) -> str:
        return f"{self.kind}[{self.id}] {self.state}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operation) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def refresh(self) -> Self:
        """Read state and counts from the outboxes; return the operation itself.

        Raises:
            LookupError: it was rolled back, or pruned after ``KEEP_AUDIT``.
        """
        if self._databases:
            found = _rows(self.id, self._databases)
            if not found:
                raise LookupError(f"There is no operation {self.id} any more.")
            self._copy(found)
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until it is done, cancelled or stopped; return the operation itself.

        Not inside of a transaction, which would not see what relays do.

        Args:
            timeout: seconds, or None for ever.

        Raises:
            TimeoutError: it is still open.
        """
        until = None if timeout is None else time.monotonic() + timeout
        for pause in chain(LOOKS, repeat(LOOKS[-1])):
            if not self.refresh().is_open:
                return self
            if until is not None and time.monotonic() + pause > until:
                break
            time.sleep(pause)
        raise TimeoutError(
            f"the {self.kind} {self.id} is {self.state} after {timeout} seconds; relays "
            "go on with it, if one is alive"
        )

    def work_off(self, seconds: float = 2.0) -> Self:
        """Work at it here and now, as a relay does; return the operation itself.

        Ends when it is finished, when it has to wait (for a rate, or for the outcome of
        a step), or after about so many seconds; relays go on from there. In the
        caller's transaction, or in one for each batch.
        """
        until = time.monotonic() + seconds
        for database in self._databases:
            left = max(0.0, until - time.monotonic())
            operating.work_off(database, seconds=left, only=self.id)
        return self.refresh()

    def cancel(self, *, by: Any = None, reason: str = "") -> Self:
        """Cancel it; what it has not reached stays as it is.

        A batch that a relay is at is finished first. One that is finished already
        stays as it is. In the caller's transaction, or in one for each outbox.
        """
        act = partial(_act, "cancel", self, by, reason)
        for database in self._databases:
            with transaction.atomic(using=database):
                row = _lock(self.id, database)
                if row is None or row.state not in (*OPEN, OperationState.STOPPED):
                    continue
                row.finish(OperationState.CANCELLED)
                row.save(using=database, update_fields=operating.PROGRESS)
                audit.record(act(), database=database)
                operating.tell_finished(row, database)
        return self.refresh()

    def resume(self, *, by: Any = None, reason: str = "") -> Self:
        """Go on with it after it was stopped, in a step of the size that had failed.

        In the caller's transaction, or in one for each outbox.

        Raises:
            ValueError: it is not stopped, or the same operation was opened meanwhile.
        """
        if self.refresh().state != OperationState.STOPPED:
            raise ValueError(
                f"the {self.kind} {self.id} is not stopped: it is {self.state}"
            )
        for database in self._databases:
            with transaction.atomic(using=database):
                row = _lock(self.id, database)
                if row is not None and row.state == OperationState.STOPPED:
                    self._reopen(row, database)
                    act = _act("resume", self, by, reason)
                    audit.record(act, database=database)
        return self.refresh()

    def _reopen(self, row: models.Operation, database: str) -> None:
        row.reopen(open_key(row.kind, Selection.from_json(row.stored_selection)))
        try:
            with transaction.atomic(using=database):
                row.save(using=database, update_fields=operating.PROGRESS)
        except IntegrityError as error:
            raise ValueError("The same operation is open already.") from error

    def _copy(self, found: Mapping[str, models.Operation]) -> None:
        rows = list(found.values())
        self._databases = tuple(found)
        self.state = _state([OperationState(row.state) for row in rows])
        totals = [row.total for row in rows]
        known = [total for total in totals if total is not None]
        self.total = sum(known) if len(known) == len(totals) else None
        for name in ("done", "failed", "skipped"):
            setattr(self, name, sum(getattr(row, name) for row in rows))
        self.note = "\n".join(dict.fromkeys(row.note for row in rows if row.note))
        self.created_at = min(row.created_at for row in rows)
        ends = [row.finished_at for row in rows if row.finished_at is not None]
        self.finished_at = max(ends) if len(ends) == len(rows) else None


def find(pk: uuid.UUID | str) -> Operation | None:
    """Return the operation of that id, or None; raise ``ValueError`` for no id."""
    found = _rows(as_id(pk, "find(): pk"), outbox_aliases())
    return Operation.of(found) if found else None


def recent(limit: int = 20) -> list[Operation]:
    """Return the last operations of all outboxes, the newest first."""
    newest: dict[uuid.UUID, datetime] = {}
    for database in outbox_aliases():
        rows = models.Operation.objects.using(database).order_by("-created_at")
        newest |= dict(rows.values_list("pk", "created_at")[:limit])
    ids = sorted(newest, key=lambda pk: newest[pk], reverse=True)[:limit]
    return [found for pk in ids if (found := find(pk)) is not None]


def open_key(kind: str, selection: Selection) -> str:
    """Return what the same operations have in common."""
    return hashlib.sha256(f"{kind} {selection.to_json()}".encode()).hexdigest()


def _rows(pk: uuid.UUID, databases: Iterable[str]) -> dict[str, models.Operation]:
    found = {}
    for database in databases:
        row = models.Operation.objects.using(database).filter(pk=pk).first()
        if row is not None:
            found[database] = row
    return found


def _lock(pk: uuid.UUID, database: str) -> models.Operation | None:
    rows = models.Operation.objects.using(database).select_for_update()
    return rows.filter(pk=pk).first()


def _state(states: list[OperationState]) -> OperationState:
    """Return the state of an operation that is in these states in its outboxes."""
    if len(set(states)) == 1:
        return states[0]
    if any(state in OPEN for state in states):
        return OperationState.RUNNING
    stopped, cancelled = OperationState.STOPPED, OperationState.CANCELLED
    return stopped if stopped in states else cancelled


def _act(verb: str, operation: Operation, by: Any, reason: str) -> audit.Act:
    return audit.Act(
        verb=verb,
        target=f"{operation.kind} {operation.id}",
        by=audit.name_of(by),
        reason=reason,
        operation_id=operation.id,
        command=audit.command_line("operations", str(operation.id), **{verb: True}),
    )
