"""The web process under attack: one page that writes a row and sends an event."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from chaos.models import Ticket
from chaos.signals import happened


class ChangedItsMindError(Exception):
    """The business transaction fails after the event was sent."""


def send(request: HttpRequest) -> HttpResponse:
    """Write a ticket and send its event, in one transaction."""
    key, nap = request.GET["key"], float(request.GET["nap"])
    try:
        confirm(key, nap, regret=request.GET["regret"] == "yes")
    except ChangedItsMindError:
        return HttpResponse("nothing was sent")
    return HttpResponse("sent")


def confirm(key: str, nap: float, *, regret: bool) -> None:
    """The business transaction: all of it or nothing."""
    with transaction.atomic():
        responses: list[tuple[Any, Any]] = happened.send(None, key=key, nap=nap)
        Ticket.objects.create(key=key, event_id=responses[0][1].event_id)
        if regret:
            raise ChangedItsMindError


urlpatterns = [path("send", send)]
