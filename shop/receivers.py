"""How the shop reacts to requests: inline, in plain Django.

``request_finished`` makes no durable event, and ``async_receiver`` refuses it. It is
sent when the answer has left, outside of the request's transaction: there is nothing
that an event could commit together with. What it tells, that this process is done
with a request, interests this process only. And a row for each request would cost
more than most requests. Whoever wants to do something durable after a request sends a
signal of their own in the view, where it commits with what the view has done.
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
    """Start the clock. An asynchronous server sends no environment."""
    if environ is not None:
        slow_requests.begin(environ.get("PATH_INFO") or "/")


@receiver(request_finished)
def end_request(sender: object, **kwargs: object) -> None:
    """Stop the clock, and count a request that took long."""
    slow_requests.end()
