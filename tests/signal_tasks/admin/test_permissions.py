"""Every page and action of the admin, for every kind of user."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from signal_tasks.models import Attempt, Delivery, Event, Worker
from tests.signal_tasks.admin.conftest import act

pytestmark = pytest.mark.django_db

MODELS = ("event", "delivery", "worker")
#: The status of a GET of each page: for anonymous, for staff without any
#: permission of ours, for staff that may view, and for a superuser.
PAGES = {
    "changelist": (302, 403, 200, 200),
    "change": (302, 403, 200, 200),
    "history": (302, 403, 200, 200),
    "add": (302, 403, 403, 403),
    "delete": (302, 403, 403, 403),
}
PEOPLE = ("anonymous", "staff", "viewer", "superuser")
#: The state of a dead delivery after each action.
ACTIONS = {
    "replay": ("dead", "dead", "dead", "pending"),
    "discard": ("dead", "dead", "dead", "discarded"),
    "delete_selected": ("dead", "dead", "dead", "dead"),
    "no such action": ("dead", "dead", "dead", "dead"),
}


@pytest.fixture
def rows() -> dict[str, Any]:
    """One row of each model; the delivery is dead."""
    event = Event.objects.create(signal="t.signal", payload="{}")
    delivery = Delivery.objects.create(
        event=event, receiver="t.r", state="dead", finished_at=timezone.now()
    )
    worker = Worker.objects.create(name="celery@here")
    return {"event": event, "delivery": delivery, "worker": worker}


def logged_in(who: str) -> Client:
    client = Client()
    if who == "anonymous":
        return client
    user = User.objects.create_user(who, is_staff=True, is_superuser=who == "superuser")
    if who == "viewer":
        ours = Permission.objects.filter(content_type__app_label="signal_tasks")
        user.user_permissions.set(ours.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("who", PEOPLE)
def test_each_page_is_for_those_who_may_see_it(
    who: str, name: str, model: str, rows: dict[str, Any]
) -> None:
    args = [] if name in ("changelist", "add") else [rows[model].pk]
    url = reverse(f"admin:signal_tasks_{model}_{name}", args=args)
    expected = PAGES[name][PEOPLE.index(who)]
    assert logged_in(who).get(url).status_code == expected


@pytest.mark.parametrize("verb", ACTIONS)
@pytest.mark.parametrize("who", PEOPLE)
def test_each_action_is_for_those_who_may_do_it(
    who: str, verb: str, rows: dict[str, Any]
) -> None:
    delivery = rows["delivery"]
    url = reverse("admin:signal_tasks_delivery_changelist")
    act(logged_in(who), url, verb, delivery.pk)
    delivery.refresh_from_db()
    assert delivery.state == ACTIONS[verb][PEOPLE.index(who)]


@pytest.mark.parametrize(
    "said",
    ["<script>alert('x')</script>", "\x1b[31m\x07\u202e\r\n", "x" * 100_000],
    ids=["markup", "control characters", "huge"],
)
def test_whatever_a_traceback_says_is_shown_as_text(
    said: str, rows: dict[str, Any]
) -> None:
    delivery = rows["delivery"]
    failure = {"error_type": said[:200], "error": said[:2000], "worker": said[:200]}
    Attempt.objects.create(
        delivery=delivery, number=1, consequence="dead", traceback=said, **failure
    )
    url = reverse("admin:signal_tasks_delivery_change", args=[delivery.pk])
    response = logged_in("viewer").get(url)
    assert response.status_code == 200
    assert "<script>alert" not in response.content.decode()
    assert len(response.content) < 200_000


def staff_who_may(*codenames: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    ours = Permission.objects.filter(content_type__app_label="signal_tasks")
    user.user_permissions.set(ours.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("may", [True, False])
def test_what_an_error_says_is_for_those_who_may_view_attempts(
    may: bool, rows: dict[str, Any]
) -> None:
    failure = {"error": "a secret error", "traceback": "a secret traceback"}
    Attempt.objects.create(
        delivery=rows["delivery"], number=1, error_type="SecretError", **failure
    )
    client = staff_who_may("view_delivery", *(["view_attempt"] if may else []))
    url = reverse("admin:signal_tasks_delivery_change", args=[rows["delivery"].pk])
    page = client.get(url).content.decode()
    assert "t.r" in page
    for text in ("SecretError", "a secret error", "a secret traceback"):
        assert (text in page) is may


@pytest.mark.parametrize("may", [True, False])
def test_deliveries_of_an_event_are_for_those_who_may_view_deliveries(
    may: bool, rows: dict[str, Any]
) -> None:
    client = staff_who_may("view_event", *(["view_delivery"] if may else []))
    url = reverse("admin:signal_tasks_event_change", args=[rows["event"].pk])
    page = client.get(url).content.decode()
    assert "t.signal" in page
    assert ("t.r<" in page) is may
