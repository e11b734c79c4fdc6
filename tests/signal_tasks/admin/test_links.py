"""The admin leads to the dashboard, where there is one, and the dashboard back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import path

from signal_tasks import operations
from signal_tasks.models import Delivery, FailureGroup
from signal_tasks.operations import Selection
from tests.signal_tasks.admin.conftest import text
from tests.signal_tasks.dashboard.conftest import logged_in, user

pytestmark = pytest.mark.django_db

urlpatterns = [path("admin/", admin.site.urls)]  # of a project without a dashboard
ADMIN = "/admin/signal_tasks"


@pytest.fixture
def links(dead: Delivery) -> dict[str, str]:
    """Pages of the admin, each with the page of the dashboard that it leads to."""
    group = FailureGroup.objects.get()
    operation = operations.replay(Selection(receiver="t.failing"))
    return {
        f"{ADMIN}/": "/signals/",
        f"{ADMIN}/delivery/": "/signals/",
        f"{ADMIN}/worker/": "/signals/",
        f"{ADMIN}/delivery/{dead.pk}/change/": f"/signals/deliveries/{dead.pk}/",
        f"{ADMIN}/event/{dead.event_id}/change/": f"/signals/events/{dead.event_id}/",
        f"{ADMIN}/failuregroup/{group.pk}/change/": f"/signals/dead/{group.pk}/",
        f"{ADMIN}/operation/{operation.id}/change/": (
            f"/signals/operations/{operation.id}/"
        ),
    }


def test_each_page_leads_to_the_same_on_the_dashboard(
    admin_client: Client, links: dict[str, str]
) -> None:
    for page, target in links.items():
        assert f'href="{target}"' in text(admin_client.get(page)), page
        assert admin_client.get(target).status_code == 200


def test_who_may_not_see_the_dashboard_is_not_led_to_it(
    staff: Callable[..., Client], links: dict[str, str]
) -> None:
    client = staff("view_event")
    event = next(page for page in links if "/event/" in page)
    assert "/signals/" not in text(client.get(event))


def test_a_project_without_a_dashboard_has_no_such_link(
    admin_client: Client, links: dict[str, str], settings: Any
) -> None:
    settings.ROOT_URLCONF = __name__
    for page in links:
        assert "/signals/" not in text(admin_client.get(page))


def test_the_dashboard_leads_back(admin_client: Client, dead: Delivery) -> None:
    for kind, pk in (("deliveries", dead.pk), ("events", dead.event_id)):
        page = text(admin_client.get(f"/signals/{kind}/{pk}/"))
        assert (
            f"{ADMIN}/{'delivery' if kind == 'deliveries' else 'event'}/{pk}/" in page
        )


def test_it_leads_nobody_back_who_is_no_staff(dead: Delivery) -> None:
    viewer = logged_in(user("viewer", "view_delivery"))
    page = text(viewer.get(f"/signals/deliveries/{dead.pk}/"))
    assert "/admin/" not in page
