"""Open operations: a row in each outbox, and an entry in the audit trail."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.dispatch import Signal

from signal_tasks import audit, models
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import uuid7
from signal_tasks.operations.handle import Operation, find, open_key
from signal_tasks.registry.naming import ReceiverFunction
from signal_tasks.registry.options import per_second
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.relay import backfilling
from signal_tasks.selection import Selection, Since

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


def replay(  # noqa: PLR0913 - one keyword per option
    selection: Selection,
    *,
    canary: bool | None = None,
    rate: str | int | float | None = None,
    reason: str = "",
    by: Any = None,
    dry_run: bool = False,
    everything: bool = False,
) -> Operation:
    """Have dead deliveries run again, with all their attempts.

    Relays do it, in batches; this only writes the operation, in the caller's
    transaction or in one for each outbox. The same operation that is still open is
    returned in place of a second one.

    Args:
        selection: which deliveries; those that finish after this call are not meant.
        canary: go in steps of 1, 2, 5, 20, 100, 500 deliveries and so on, each only
            after 95 % of the last one have succeeded; None: if there are more than 100.
        rate: deliveries a second, or text such as ``"100/m"``; None: as fast as
            relays can.
        reason: why; for the audit trail.
        by: who; a user, or a name.
        dry_run: write nothing; only count, in ``total``.
        everything: the selection may be one that restricts nothing.

    Raises:
        ValueError: the selection restricts nothing, or the rate is none.
    """
    _refuse_everything(selection, everything=everything)
    plan = Plan(
        kind=Kind.REPLAY,
        selection=selection,
        canary=canary,
        rate=rate,
        reason=reason,
        by=audit.name_of(by),
    )
    return _open(plan, selection.replayable, dry_run=dry_run)


def discard(
    selection: Selection,
    *,
    rate: str | int | float | None = None,
    reason: str = "",
    by: Any = None,
    dry_run: bool = False,
    everything: bool = False,
) -> Operation:
    """Finish pending and dead deliveries without running them.

    As ``replay``, with the same arguments, but never in the steps of a canary. A
    pending delivery that was sent after this call is not meant.

    Raises:
        ValueError: the selection restricts nothing, or the rate is none.
    """
    _refuse_everything(selection, everything=everything)
    plan = Plan(
        kind=Kind.DISCARD,
        selection=selection,
        canary=False,
        rate=rate,
        reason=reason,
        by=audit.name_of(by),
    )
    return _open(plan, selection.discardable, dry_run=dry_run)


def backfill(  # noqa: PLR0913 - one keyword per option
    receiver: str | ReceiverFunction,
    *,
    since: Since,
    until: Since | None = None,
    signal: str | Signal | None = None,
    canary: bool | None = None,
    rate: str | int | float | None = None,
    reason: str = "",
    by: Any = None,
    dry_run: bool = False,
) -> Operation:
    """Deliver past events to a receiver that was connected after they were sent.

    As ``replay``; each event of its signals that it has no delivery of gets one, if
    its connection hears the sender and ``when=`` accepts the keywords. Only events
    that had another durable receiver were stored.

    Args:
        receiver: the function, or its name; it has to be connected in this process.
        since: an aware datetime, or a timedelta for so long ago.
        until: the same; None: until now.
        signal: only events of this signal, or of the signal of this name.
        canary, rate, reason, by: as for ``replay``.
        dry_run: write nothing; only count the events, in ``total``, whatever their
            senders and keywords.

    Raises:
        ValueError: the receiver is not known here, is ordered, or is not connected to
            the signal; what was sent so long ago has been pruned; the rate is none.
    """
    found = _receiver(receiver)
    name = signal if isinstance(signal, str) or signal is None else _name_of(signal)
    selection = Selection(receiver=found.name, signal=name, since=since, until=until)
    backfilling.check(found, selection)
    plan = Plan(
        kind=Kind.BACKFILL,
        selection=selection,
        canary=canary,
        rate=rate,
        reason=reason,
        by=audit.name_of(by),
    )
    fixed = selection.fixed()
    return _open(
        plan, lambda database: backfilling.events(fixed, database), dry_run=dry_run
    )


def _refuse_everything(selection: Selection, *, everything: bool) -> None:
    if selection.is_empty and not everything:
        raise ValueError(
            "This selection restricts nothing: it would change the deliveries of all "
            "receivers. Restrict it, or pass everything=True."
        )


def _receiver(given: str | ReceiverFunction) -> Receiver:
    if isinstance(given, str):
        found = registry.receiver(given)
    else:
        same = (each for each in registry.receivers() if each.function() == given)
        found = next(same, None)
    if found is None:
        close = difflib.get_close_matches(str(given), registry.known_names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{given!r} is no durable receiver of this process.{hint}")
    return found


def _name_of(signal: Signal) -> str:
    names = registry.names_of(signal)
    if not names:
        raise ValueError(f"{signal!r} has no durable receivers in this process.")
    return names[0]


def _open(
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
    assert operation is not None  # noqa: S101 - in this transaction, or committed
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
        if database in found:
            continue
        row = plan.row(pk, canary=canary)
        try:
            with transaction.atomic(using=database):
                row.save(using=database, force_insert=True)
                if is_new:
                    audit.record(plan.act(pk), database=database)
        except IntegrityError:  # somebody else was first
            pk = _open_ids(plan, locked=True).get(database, pk)
        is_new = False
    return pk


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
