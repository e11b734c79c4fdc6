"""The web process under test: its pages write a row and send an event."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from chaos.models import Line, Ticket
from chaos.signals import coalesced, workload_event

#: Keys of one workload, under which ordered receivers run its events one by one.
LINES = 2


class RollbackRequested(Exception):
    """Roll the business transaction back after the event was sent."""


def send(request: HttpRequest) -> HttpResponse:
    """Write a ticket and send its event, in one transaction."""
    key, nap = request.GET["key"], float(request.GET["nap"])
    try:
        write_and_send(key, nap, rollback=request.GET["rollback"] == "yes")
    except RollbackRequested:
        return HttpResponse("rolled back")
    return HttpResponse("sent")


def write_and_send(key: str, nap: float, *, rollback: bool) -> None:
    """Commit both the ticket and the event, or neither."""
    prefix, _, number = key.rpartition("-")
    line = f"{prefix}:{int(number) % LINES}"
    with transaction.atomic():
        responses: list[tuple[Any, Any]] = workload_event.using(key=line).send(
            None, key=key, nap=nap, line=line
        )
        event_id, place = responses[0][1].event_id, Line.next_place(line)
        Ticket.objects.create(key=key, event_id=event_id, line=line, place=place)
        if rollback:
            raise RollbackRequested


def merge(request: HttpRequest) -> HttpResponse:
    """Write a ticket of a number for each line and send it, in one transaction."""
    number = int(request.GET["number"])
    with transaction.atomic():
        for line in sorted(request.GET.getlist("line")):
            responses: list[tuple[Any, Any]] = coalesced.send(
                None, line=line, number=number
            )
            event_id, key = responses[0][1].event_id, f"{line}-{number}"
            Ticket.objects.create(key=key, event_id=event_id, line=line, place=number)
    return HttpResponse("sent")


urlpatterns = [path("send", send), path("merge", merge)]
