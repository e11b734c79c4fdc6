"""Slow requests are counted, inline, by the pattern of their address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_finished, request_started

from shop import slow_requests
from signal_tasks import async_receiver
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _from_nothing() -> Iterator[None]:
    slow_requests._counts.clear()
    yield
    slow_requests._counts.clear()


def test_a_slow_request_is_counted_by_its_pattern(client, mug, settings):
    settings.SLOW_REQUEST_SECONDS = 0
    for path in ("/products/enamel-mug/", "/products/no/", "/nowhere/", "/"):
        client.get(path)
    assert slow_requests.slow_requests() == {
        "/products/<slug:slug>/": 2,
        slow_requests.UNKNOWN: 1,
        "/": 1,
    }


def test_health_shows_the_counts(admin_client, client, settings):
    settings.SLOW_REQUEST_SECONDS = 0
    client.get("/")
    assert admin_client.get("/health/").json()["slow_requests"] == {"/": 1}


def test_a_quick_request_is_not_counted_and_nothing_is_pending(client, settings):
    settings.SLOW_REQUEST_SECONDS = 60
    client.get("/")
    assert slow_requests.slow_requests() == {}
    assert run_pending() == []


def test_an_asynchronous_request_is_let_pass(settings):
    settings.SLOW_REQUEST_SECONDS = 0
    request_started.send(sender=None, scope={"path": "/orders/"})
    request_finished.send(sender=None)
    assert slow_requests.slow_requests() == {}


def test_an_end_without_a_beginning_counts_nothing(settings):
    slow_requests.end()
    assert slow_requests.slow_requests() == {}


def test_the_library_refuses_it_as_durable_and_says_why():
    with pytest.raises(ImproperlyConfigured, match="one process and request"):

        @async_receiver(request_finished)
        def never(sender: object, **kwargs: object) -> None: ...
