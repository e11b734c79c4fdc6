"""The pages of the dashboard, for who may see them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections
from django.test import Client

from signal_tasks import AsyncSignal
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.dashboard.conftest import text

pytestmark = pytest.mark.django_db


def test_who_is_not_logged_in_is_asked_to(client: Client) -> None:
    assert client.get("/signals/").status_code == 302


def test_who_may_not_view_deliveries_is_refused(client: Client) -> None:
    client.force_login(User.objects.create_user("nobody"))
    assert client.get("/signals/").status_code == 403


def test_the_overview_names_each_receiver(pages: Client, signal: AsyncSignal) -> None:
    listen(signal, name="t.overview")
    signal.send(sender=None)
    assert "t.overview" in text(pages.get("/signals/"))


def test_an_event_is_found_and_shown(pages: Client, signal: AsyncSignal) -> None:
    listen(signal, name="t.event")
    ((_, handle),) = signal.send(sender=None, note="<b>hello</b>")
    seen = text(pages.get("/signals/events/", {"signal": signal.name}))
    assert "note=&#x27;&lt;b&gt;hello&lt;/b&gt;&#x27;" in seen
    assert f"/signals/events/{handle.event_id}/" in seen
    assert "t.event" in text(pages.get(f"/signals/events/{handle.event_id}/"))


def test_an_outbox_that_does_not_exist_is_not_found(pages: Client) -> None:
    assert pages.get("/signals/", {"database": "elsewhere"}).status_code == 404


def is_down(*args: Any) -> Any:
    raise OperationalError("the server is down")


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.parametrize(
    "page",
    [
        "",
        "events/",
        "dead/",
        "blocked/",
        "operations/",
        "receivers/",
        "receivers/t.up/",
        "workers/",
        "log/",
    ],
)
def test_the_pages_of_an_outbox_are_there_while_another_is_down(
    page: str, pages: Client, signal: AsyncSignal, settings: Any
) -> None:
    both = ["default", "other"]
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "DATABASES": both}
    listen(signal, name="t.up")
    with connections["other"].execute_wrapper(is_down):
        text(pages.get(f"/signals/{page}"))
