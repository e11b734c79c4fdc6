"""Write into the log of Django's admin what was done with an object."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db.models import Model
from django.http import HttpRequest

from signal_tasks import models
from signal_tasks.operations import Operation

#: Deliveries of one operation that get an entry of their own: a page of ticked ones.
MAX_LOGGED = 50


def log(
    request: HttpRequest, objects: Sequence[Model], message: str, flag: int = CHANGE
) -> None:
    """Write an entry for each object."""
    user = str(request.user.pk)
    LogEntry.objects.log_actions(user, list(objects), flag, change_message=message)


def log_operation(request: HttpRequest, operation: Operation) -> None:
    """Write entries for an operation, and for each delivery that was ticked for it."""
    words = operation.selection.words_for(operation.kind)
    message = f"{operation.kind} of {words}: {operation.reason}"
    row = models.Operation(pk=operation.id, kind=operation.kind)
    log(request, [row], message, ADDITION)
    ticked = [
        models.Delivery(pk=pk) for pk in list(operation.selection.ids)[:MAX_LOGGED]
    ]
    if ticked:
        log(request, ticked, f"{operation.kind} in a list: {operation.reason}")
