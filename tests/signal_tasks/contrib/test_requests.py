"""Who acts, and in which request, is known to the receivers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from signal_tasks import AsyncSignal
from signal_tasks.contrib.requests import (
    RequestFilter,
    RequestMiddleware,
    acting_as,
    actor,
    request_id,
)
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import connect

pytestmark = pytest.mark.django_db

HOOKS = [f"signal_tasks.contrib.requests.{name}" for name in ("Actor", "RequestId")]


@pytest.fixture
def seen(signal: AsyncSignal, settings: Any) -> list[tuple[str | None, str | None]]:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CONTEXT": HOOKS}
    found = []

    def look(sender: object, **kwargs: Any) -> None:
        found.append((actor(), request_id()))

    connect(signal, look)
    return found


def request_of(user: Any, **headers: str) -> HttpRequest:
    request = RequestFactory().get("/", headers=headers)
    request.user = user
    return request


@pytest.mark.parametrize("is_async", [False, True])
def test_a_receiver_knows_the_user_and_the_request(
    is_async: bool, signal: AsyncSignal, seen: list[Any]
) -> None:
    user = User.objects.create(username="ada")

    def view(request: HttpRequest) -> HttpResponse:
        signal.send(sender=None)
        return HttpResponse()

    async def async_view(request: HttpRequest) -> HttpResponse:
        return await sync_to_async(view)(request)

    request = request_of(user, x_request_id="abc-1")
    answer: Any = RequestMiddleware(async_view if is_async else view)(request)
    if is_async:

        async def awaited() -> HttpResponse:
            response: HttpResponse = await answer
            return response

        answer = async_to_sync(awaited)()
    run_pending()
    assert seen == [(f"auth.user:{user.pk}", "abc-1")]
    assert answer.headers["X-Request-ID"] == "abc-1"
    assert (actor(), request_id()) == (None, None)


def test_a_visitor_is_nobody_and_gets_an_id(
    signal: AsyncSignal, seen: list[Any]
) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        signal.send(sender=None)
        return HttpResponse()

    answer: Any = RequestMiddleware(view)(request_of(AnonymousUser()))
    run_pending()
    ((who, where),) = seen
    assert who is None
    assert len(where) == 32
    assert answer.headers["X-Request-ID"] == where


@pytest.mark.parametrize("bad", ["", "x" * 129, "two words", "line\nbreak", "é"])
def test_an_id_that_no_proxy_would_give_is_replaced(bad: str) -> None:
    request = request_of(AnonymousUser())
    request.META["HTTP_X_REQUEST_ID"] = bad
    answer: Any = RequestMiddleware(lambda request: HttpResponse())(request)
    assert answer.headers["X-Request-ID"] != bad


def test_requests_side_by_side_do_not_mix() -> None:
    seen = []

    async def view(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        seen.append((request.headers["X-Request-ID"], request_id()))
        return HttpResponse()

    async def answer_all() -> None:
        middleware: Any = RequestMiddleware(view)
        requests = [request_of(AnonymousUser(), x_request_id=str(n)) for n in range(5)]
        await asyncio.gather(*(middleware(request) for request in requests))

    asyncio.run(answer_all())
    assert sorted(seen) == [(str(n), str(n)) for n in range(5)]


def test_outside_of_a_request_the_code_says_who_acts(
    signal: AsyncSignal, seen: list[Any]
) -> None:
    user = User.objects.create(username="ada")
    with acting_as("nightly import"):
        signal.send(sender=None)
        with acting_as(user):
            signal.send(sender=None)
    run_pending()
    assert seen == [("nightly import", None), (f"auth.user:{user.pk}", None)]


def test_the_filter_puts_the_id_into_log_records(
    signal: AsyncSignal, seen: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        logging.getLogger("tests").warning("hello")
        return HttpResponse()

    caplog.handler.addFilter(RequestFilter())
    RequestMiddleware(view)(request_of(AnonymousUser(), x_request_id="abc-1"))
    logging.getLogger("tests").warning("outside")
    assert [vars(record)["request_id"] for record in caplog.records] == ["abc-1", ""]
