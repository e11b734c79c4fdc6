"""Carry who caused an event, and the id of the request in which that was, along.

Add ``RequestMiddleware`` behind Django's ``AuthenticationMiddleware``. Outside of
requests ``acting_as`` says who acts.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

GetResponse = Callable[[HttpRequest], Any]

#: Ids of a proxy in front that are taken over; any other is replaced.
_GOOD_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_NOBODY: Callable[[], str | None] = lambda: None  # noqa: E731 - a default, not a step

_request_id: ContextVar[str | None] = ContextVar("signal_tasks_request", default=None)
_actor: ContextVar[Callable[[], str | None]] = ContextVar(
    "signal_tasks_actor", default=_NOBODY
)


def request_id() -> str | None:
    """Return the id of the request that this code runs for, or None.

    In a receiver that is the request in which its event was sent.
    """
    return _request_id.get()


def actor() -> str | None:
    """Return who caused what this code does, as ``app.model:pk``, or None.

    In a receiver that is the actor of the code that sent its event.
    """
    return _actor.get()()


@contextmanager
def acting_as(who: Model | str | None) -> Iterator[None]:
    """Make a model instance, or any short text, the actor of a block of code."""
    text = _named(who) if isinstance(who, Model) else who
    token = _actor.set(lambda: text)
    try:
        yield
    finally:
        _actor.reset(token)


def _named(who: Model) -> str:
    return f"{who._meta.label_lower}:{who.pk}"


@contextmanager
def in_request(value: str | None) -> Iterator[None]:
    """Make ``value`` the id of the request for a block of code."""
    token = _request_id.set(value)
    try:
        yield
    finally:
        _request_id.reset(token)


class Actor:
    """The actor: the user of the request, or who was given to ``acting_as``."""

    name = "actor"

    def capture(self) -> str | None:
        """Return the actor; the first call in a request may load its user."""
        return actor()

    def restore(self, value: str) -> AbstractContextManager[None]:
        """Make it the actor of the receiver."""
        return acting_as(value)


class RequestId:
    """The id of the request."""

    name = "request_id"
    splits_batches = False

    def capture(self) -> str | None:
        """Return the id of the request."""
        return request_id()

    def restore(self, value: str) -> AbstractContextManager[None]:
        """Make it the id of the request for the receiver."""
        return in_request(value)


class RequestMiddleware:
    """Note the id and the user of each request, in sync and async stacks.

    The id is that of the header ``X-Request-ID``, if a proxy has set it, else a new
    one; the response says it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """Answer the request with its id and actor known."""
        if self._is_async:
            return self._answer_later(request)
        with _noted(request) as value:
            response: HttpResponse = self.get_response(request)
            return _marked(response, value)

    async def _answer_later(self, request: HttpRequest) -> HttpResponse:
        with _noted(request) as value:
            return _marked(await self.get_response(request), value)


@contextmanager
def _noted(request: HttpRequest) -> Iterator[str]:
    given = request.headers.get("X-Request-ID", "")
    value = given if _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
    token = _actor.set(lambda: _user_of(request))
    try:
        with in_request(value):
            yield value
    finally:
        _actor.reset(token)


def _user_of(request: HttpRequest) -> str | None:
    user = getattr(request, "user", None)
    return _named(user) if isinstance(user, Model) else None


def _marked(response: HttpResponse, value: str) -> HttpResponse:
    response.headers["X-Request-ID"] = value
    return response


class RequestFilter(logging.Filter):
    """Add ``request_id`` to each log record; empty outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the field; keep the record."""
        record.request_id = request_id() or ""
        return True
