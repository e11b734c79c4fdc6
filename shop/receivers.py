"""Inline receivers of Django's request signals: they time the requests.

``async_receiver`` refuses ``request_finished``. Django sends it after the response,
outside of the request's transaction: an event could not commit together with anything.
It concerns this process only, and a row per request would cost more than most requests.
For durable work after a request, send a signal of your own in the view.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.signals import request_finished, request_started
from django.dispatch import receiver

from shop import slow_requests


@receiver(request_started)
def begin_request(
    sender: object, environ: Mapping[str, Any] | None = None, **kwargs: object
) -> None:
    """Note the start of a request. An ASGI server sends no ``environ``."""
    if environ is not None:
        slow_requests.begin(environ.get("PATH_INFO") or "/")


@receiver(request_finished)
def end_request(sender: object, **kwargs: object) -> None:
    """Count the request if it took long."""
    slow_requests.end()
