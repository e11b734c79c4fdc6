"""One delivery: its life as a timeline, why it waits, and what else failed like it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from signal_tasks.db.clock import DatabaseNow
from signal_tasks.healthcheck.wording import shortly
from signal_tasks.models import (
    Attempt,
    AuditEntry,
    Control,
    Delivery,
    FailureGroup,
    HeldDelivery,
    Operation,
    OperationItem,
    Worker,
)
from signal_tasks.registry.registry import registry
from signal_tasks.reports import bounds
from signal_tasks.reports.payloads import ShownPayload, show
from signal_tasks.states import Hold, State
from signal_tasks.steering.keys import place_of
from signal_tasks.steering.targets import targets_of

#: Attempts and siblings that one page shows.
MAX_ATTEMPTS, MAX_SIBLINGS = 200, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step in the life of a delivery.

    Attributes:
        at: when it was.
        title: in a few words.
        tone: ``good``, ``bad``, ``busy`` or empty.
        text: more about it.
        attempt: the failed attempt that it was, if it was one.
        operation: the operation that did it, if one did.
    """

    at: datetime
    title: str
    tone: str = ""
    text: str = ""
    attempt: Attempt | None = None
    operation: Operation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Why a pending delivery does not start.

    Attributes:
        text: one sentence.
        control: the pause or the limit that holds it, if there is one.
    """

    text: str
    control: Control | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """Everything about one delivery."""

    row: Delivery
    payload: ShownPayload
    steps: Sequence[Step]
    attempts_are_cut: bool
    siblings: Sequence[Delivery]
    siblings_are_cut: bool
    group: FailureGroup | None
    others: bounds.Count
    waiting: Waiting | None
    place: Mapping[str, Any]
    worker: str

    @property
    def can_replay(self) -> bool:
        """True if a replay changes it."""
        return self.row.state in (State.DEAD, State.DISCARDED)

    @property
    def can_discard(self) -> bool:
        """True if a discard changes it."""
        return self.row.state in (State.PENDING, State.DEAD)

    @property
    def can_be_skipped(self) -> bool:
        """True if others of its key may wait behind it, and it is dead."""
        return self.row.state == State.DEAD and bool(self.place)


def delivery(database: str, pk: uuid.UUID) -> DeliveryReport | None:
    """Return everything about one delivery; None if there is none.

    At most sixteen statements, whatever it has gone through.
    """
    rows = Delivery.objects.using(database).select_related("event")
    row = rows.filter(pk=pk).first()
    if row is None:
        return None
    failed = Attempt.objects.using(database).filter(delivery_id=pk).order_by("-pk")
    attempts = list(failed[: MAX_ATTEMPTS + 1])
    siblings = rows.filter(event_id=row.event_id).exclude(pk=pk).order_by("receiver")
    found = list(siblings[: MAX_SIBLINGS + 1])
    worker = _worker(database, row)
    group, others = _group(database, row, attempts)
    place = place_of(pk, database)
    steps = [
        *_steps(row, attempts[:MAX_ATTEMPTS], _operation(database, pk), worker),
        *(() if place else _skips(database, row)),
    ]
    return DeliveryReport(
        row=row,
        payload=show(row.event.signal, row.event.payload),
        steps=sorted(steps, key=lambda step: step.at),
        attempts_are_cut=len(attempts) > MAX_ATTEMPTS,
        siblings=found[:MAX_SIBLINGS],
        siblings_are_cut=len(found) > MAX_SIBLINGS,
        group=group,
        others=others,
        waiting=_waiting(database, row),
        place=place,
        worker=worker,
    )


# -- the timeline -------------------------------------------------------------------


def _steps(
    row: Delivery, attempts: list[Attempt], operation: Operation | None, worker: str
) -> Iterator[Step]:
    yield Step(at=row.event.sent_at, title="sent", text=row.event.signal)
    for attempt in attempts:
        yield _failed(attempt)
    if operation is not None:
        title = f"{operation.kind} asked for by {operation.by or 'nobody named'}"
        text = operation.reason
        yield Step(at=operation.created_at, title=title, text=text, operation=operation)
    if row.finished_at is not None:
        if not _is_told(row, attempts):
            yield _finished(row, row.finished_at)
    elif row.state == State.RUNNING:
        yield _running(row, worker)
    elif row.available_at > timezone.now():
        yield Step(at=row.available_at, title="due", tone="busy", text="not before")


def _skips(database: str, row: Delivery) -> Iterator[Step]:
    """Yield when an ordered delivery was skipped; looked for if it has no turn."""
    receiver = registry.receiver(row.receiver)
    if receiver is None or not receiver.options.ordered:
        return
    acts = AuditEntry.objects.using(database).filter(at__gte=row.event.sent_at)
    for act in acts.filter(verb="skip", target=str(row.pk)).order_by("pk"):
        title = f"skipped by {act.by or 'nobody named'}: the others of its key may run"
        yield Step(at=act.at, title=title, text=act.reason)


def _is_told(row: Delivery, attempts: list[Attempt]) -> bool:
    """Return True if the last failed attempt tells that the delivery is dead."""
    if row.state != State.DEAD or not attempts:
        return False
    last = attempts[0]
    return last.consequence == Attempt.Consequence.DEAD and last.run == row.run


def _failed(attempt: Attempt) -> Step:
    number = f"run {attempt.run}, attempt {attempt.number}"
    times = f" {attempt.times} times" if attempt.times > 1 else ""
    tone = "bad" if attempt.consequence in BAD else ""
    title = f"{number} {CONSEQUENCES[attempt.consequence]}{times}"
    return Step(at=attempt.failed_at, title=title, tone=tone, attempt=attempt)


BAD = (Attempt.Consequence.DEAD, Attempt.Consequence.RETRIED)
CONSEQUENCES: dict[str, str] = {
    Attempt.Consequence.RETRIED: "failed; it runs again",
    Attempt.Consequence.RELEASED: "was interrupted and does not count",
    Attempt.Consequence.DEFERRED: "was put off by the receiver",
    Attempt.Consequence.DEAD: "failed for good",
}


def _finished(row: Delivery, at: datetime) -> Step:
    if row.state == State.SUCCEEDED:
        text = f"run {row.run}, attempt {row.attempts}"
        skipped = f": skipped, {row.reason}" if row.reason else ""
        return Step(at=at, title=f"succeeded{skipped}", tone="good", text=text)
    if row.state == State.DEAD:
        return Step(at=at, title=f"dead: {row.reason}", tone="bad")
    return Step(at=at, title=row.get_state_display().lower())


def _running(row: Delivery, worker: str) -> Step:
    on = f" on {worker}" if worker else ""
    title = f"run {row.run}, attempt {row.attempts} runs{on}"
    text = "its lease ends then, unless the worker extends it"
    at = row.next_check_at or row.available_at
    return Step(at=at, title=title, tone="busy", text=text)


def _worker(database: str, row: Delivery) -> str:
    if row.state != State.RUNNING or row.claimed_by is None:
        return ""
    found = Worker.objects.using(database).filter(pk=row.claimed_by).first()
    return found.name if found else "a worker that is gone"


def _operation(database: str, pk: uuid.UUID) -> Operation | None:
    """Return the last operation that the delivery was in."""
    item = OperationItem.objects.using(database).filter(pk=pk).first()
    if item is None:
        return None
    return Operation.objects.using(database).filter(pk=item.operation_id).first()


def _group(
    database: str, row: Delivery, attempts: list[Attempt]
) -> tuple[FailureGroup | None, bounds.Count]:
    """Return the group of the last failure, and how many others died of it."""
    fingerprint = attempts[0].fingerprint if attempts else ""
    if not fingerprint:
        return None, bounds.Count(0)
    group = FailureGroup.objects.using(database).filter(pk=fingerprint).first()
    others = Delivery.objects.using(database).of_group(fingerprint).exclude(pk=row.pk)
    return group, bounds.count(others, bounds.FEW_COUNTED)


# -- why it waits -------------------------------------------------------------------


def _waiting(database: str, row: Delivery) -> Waiting | None:
    if row.state != State.PENDING:
        return None
    if row.parked:
        return Waiting(text=f"It cannot be published: {row.parked}")
    if row.orphaned:
        return Waiting(text=f"No worker that was seen knows {row.receiver}.")
    held = HeldDelivery.objects.using(database).filter(pk=row.pk).first()
    if held is None:
        return _behind(database, row)
    if held.why == Hold.BREAKER:
        return Waiting(text=HELD[held.why])
    return Waiting(text=HELD[held.why], control=_control(database, row, held.why))


def _behind(database: str, row: Delivery) -> Waiting | None:
    """Return what an ordered delivery waits behind; None if its turn has come."""
    place = place_of(row.pk, database)
    first = place.get("waits_behind")
    if first is None:
        return None
    state = f"{first['state']} {first['reason']}".rstrip()
    return Waiting(
        text=f"It waits behind {first['delivery']} ({state}), "
        f"which is the first of the key {shortly(place['key'])!r}."
    )


HELD: dict[str, str] = {
    Hold.PAUSED: "It is paused.",
    Hold.LIMITED: "Its receiver is at its limit.",
    Hold.BREAKER: "The breaker of its receiver is open: it failed too often.",
}


def _control(database: str, row: Delivery, why: str) -> Control | None:
    """Return the first control in force that concerns the delivery."""
    kind = Control.Kind.PAUSE if why == Hold.PAUSED else Control.Kind.LIMIT
    receiver = registry.receiver(row.receiver)
    names = list(targets_of(receiver)) if receiver else [f"receiver:{row.receiver}"]
    names += [f"signal:{row.event.signal}", "*"]
    controls = Control.objects.using(database).filter(kind=kind, target__in=names)
    in_force = Q(until=None) | Q(until__gt=DatabaseNow())
    return controls.filter(in_force).first()
