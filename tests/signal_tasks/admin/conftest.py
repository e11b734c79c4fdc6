"""Staff with permissions, and the two steps of an action."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending


class Fields(HTMLParser):
    """The hidden fields of a page that asks for a confirmation."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden":
            name, value = given.get("name") or "", given.get("value") or ""
            self.found.setdefault(name, []).append(value)


def text(response: Any) -> str:
    return str(response.content.decode())


def ask(client: Client, url: str, verb: str, *pks: object, **more: Any) -> Any:
    """Choose an action for ticked rows; return what is answered."""
    ticked = {"_selected_action": [str(pk) for pk in pks]}
    return client.post(url, {"action": verb, **ticked, **more}, follow=True)


def confirm(client: Client, url: str, asked: Any, **filled: Any) -> Any:
    """Fill in the page that asks, and send it."""
    hidden = Fields(text(asked)).found
    assert "confirmed" in hidden, text(asked)
    filled = {"reason": "mended", **filled}
    return client.post(url, {**hidden, **filled}, follow=True)


def act(client: Client, url: str, verb: str, *pks: object, **more: Any) -> Any:
    """Choose an action for ticked rows and confirm it, if that is asked for."""
    asked = ask(client, url, verb, *pks, **more)
    if 'name="confirmed"' not in text(asked):
        return asked
    return confirm(client, url, asked)


@pytest.fixture
def staff(client: Client) -> Callable[..., Client]:
    """Return a client logged in as staff with these permissions of ours."""

    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user("staff", is_staff=True)
        permissions = Permission.objects.filter(
            content_type__app_label="signal_tasks", codename__in=codenames
        )
        assert len(permissions) == len(codenames)
        user.user_permissions.set(permissions)
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def dead(failing: AsyncSignal) -> Delivery:
    """A dead delivery, with one failed attempt, of an event."""
    failing.using(headers={"trace": "abc"}).send(sender=None, number=7)
    run_pending()
    delivery: Delivery = Delivery.objects.get()
    assert delivery.state == "dead"
    return delivery
