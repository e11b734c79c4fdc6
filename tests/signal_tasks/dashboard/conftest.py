"""Three roles in front of the dashboard, and something for them to see."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending

#: The permissions of an operator, besides that of a viewer.
OPERATOR = (
    "replay_delivery",
    "discard_delivery",
    "cancel_operation",
    "pause_target",
    "limit_target",
    "annotate_failuregroup",
)
#: What nobody's browser may take for markup.
MARKUP = "<script>alert('x')</script>"


def text(answer: Any, status: int = 200) -> str:
    """Return the page, which has to have been answered with this status."""
    assert answer.status_code == status, answer.content.decode()[:2000]
    return str(answer.content.decode())


def user(name: str, *codenames: str) -> User:
    """Create a user with these permissions of ours."""
    made = User.objects.create_user(name)
    permissions = Permission.objects.filter(
        content_type__app_label="signal_tasks", codename__in=codenames
    )
    assert len(permissions) == len(codenames)
    made.user_permissions.set(permissions)
    return made


def logged_in(who: User) -> Client:
    """Return the browser of a user."""
    client = Client()
    client.force_login(who)
    return client


@pytest.fixture
def viewer() -> User:
    """Somebody who may view deliveries, and nothing else."""
    return user("viewer", "view_delivery")


@pytest.fixture
def pages(viewer: User) -> Client:
    """A viewer's browser."""
    return logged_in(viewer)


@pytest.fixture
def operator() -> Client:
    """An operator's browser."""
    return logged_in(user("operator", "view_delivery", *OPERATOR))


@pytest.fixture
def may() -> Callable[..., Client]:
    """Return the browser of a viewer who has these permissions, too."""
    return lambda *codenames: logged_in(user("some", "view_delivery", *codenames))


@pytest.fixture
def dead(failing: AsyncSignal) -> Delivery:
    """A dead delivery of t.failing, with one failed attempt."""
    failing.send(sender=None, number=7, note=MARKUP)
    run_pending()
    delivery: Delivery = Delivery.objects.get()
    assert delivery.state == "dead"
    return delivery


def die(failing: AsyncSignal, number: int) -> None:
    """Have so many deliveries die of the same error."""
    for _ in range(number):
        failing.send(sender=None)
    run_pending()


def statements_of(client: Client, address: str) -> list[str]:
    """Return the statements of a page, without those that all pages have."""
    with CaptureQueriesContext(connection) as queries:
        text(client.get(address))
    apart = ("SAVEPOINT", "RELEASE", "SET ", "SHOW ", "BEGIN", "COMMIT")
    of_all = re.compile(r"[`\"](auth_|django_session|django_content_type)")
    found = [query["sql"] for query in queries]
    return [
        sql for sql in found if not sql.startswith(apart) and not of_all.search(sql)
    ]
