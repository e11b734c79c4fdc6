"""Tell what somebody has decided or has been told: it does not make a system unhealthy."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils import timezone

from signal_tasks.db.clock import from_now
from signal_tasks.healthcheck.wording import COMMAND, MAX_NAMES, clause, time_text
from signal_tasks.models import Control, Operation
from signal_tasks.states import OperationState

#: A stopped operation is told of for so long (seconds).
STOPPED_SECONDS = 7 * 86400.0


def notices(database: str) -> Iterator[str]:
    """Yield what somebody has decided: pauses, expired limits, stopped operations."""
    yield from _controls(database)
    yield from _stopped(database)


def _stopped(database: str) -> Iterator[str]:
    lately = from_now(-STOPPED_SECONDS)
    rows = Operation.objects.using(database).filter(
        state=OperationState.STOPPED, finished_at__gte=lately
    )
    for operation in rows.order_by("created_at")[:MAX_NAMES]:
        yield (
            f"the operation {operation} has stopped: {clause(operation.note)}. "
            f"Go on: {COMMAND} operations {operation.pk} --resume, or end it: --cancel"
        )


def _controls(database: str) -> Iterator[str]:
    for control in Control.objects.using(database).order_by("kind", "target"):
        is_pause = control.kind == Control.Kind.PAUSE
        undo = "resume" if is_pause else "clear"
        over = control.until is not None and control.until <= timezone.now()
        if is_pause and not over:
            until = f" until {time_text(control.until)}" if control.until else ""
            yield (
                f"{control.target} is paused{until}{_by(control)}. Resume it: "
                f"{COMMAND} resume {control.target!r}"
            )
        elif over:
            yield (
                f"the {control.kind} of {control.target} expired at "
                f"{time_text(control.until)}{_by(control)}, and the code's own limits hold "
                f"again. Drop it: {COMMAND} {undo} {control.target!r}"
            )


def _by(control: Control) -> str:
    by = f", by {control.by}" if control.by else ""
    return f"{by}, because: {clause(control.reason)}" if control.reason else by
