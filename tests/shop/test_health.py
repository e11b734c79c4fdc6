"""``/health/``: up or down for strangers, the report for those who may see it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from shop.health import last_seen

pytestmark = pytest.mark.django_db
TOKEN = "a-long-secret"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
COUNTS = {"pending", "running", "succeeded", "dead", "receivers", "workers"}


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    last_seen.forget()


@pytest.fixture
def viewer() -> Client:
    user = User.objects.create_user("viewer")
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def staff() -> Client:
    browser = Client()
    browser.force_login(User.objects.create_user("clerk", is_staff=True))
    return browser


def test_a_stranger_learns_up_or_down_and_nothing_else(client: Client) -> None:
    response = client.get("/health/")
    assert response.json() == {"healthy": False}  # no worker lives in this test
    assert response.status_code == 503


def test_staff_without_the_permission_are_strangers(staff: Client) -> None:
    assert set(staff.get("/health/").json()) == {"healthy"}


def test_who_may_view_deliveries_sees_the_report(viewer: Client) -> None:
    assert set(viewer.get("/health/").json()) >= COUNTS


def test_a_monitor_with_the_token_sees_the_report(client, settings):
    settings.HEALTH_TOKEN = TOKEN
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert set(client.get("/health/", headers=headers).json()) >= COUNTS


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize(
    "given", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", "é"]
)
def test_a_wrong_token_is_none(client, settings, token, given):
    settings.HEALTH_TOKEN = token
    response = client.get("/health/", headers={"authorization": given})
    assert set(response.json()) == {"healthy"}


def test_asking_again_and_again_asks_the_database_nothing(client: Client) -> None:
    client.get("/health/")
    with CaptureQueriesContext(connection) as asked:
        for _ in range(20):
            client.get("/health/")
    assert [query for query in asked if "signal_tasks" in query["sql"]] == []


def test_a_person_reads_sentences_and_what_to_do(viewer: Client) -> None:
    response = viewer.get("/health/", headers={"accept": BROWSER})
    assert response.status_code == 503
    assert "Accept" in response["Vary"]
    assert "no live worker or relay was seen" in response.text
    assert 'href="/signals/dead/"' in response.text


def test_a_person_who_is_a_stranger_reads_no_more_than_a_monitor(
    client: Client,
) -> None:
    page = client.get("/health/", headers={"accept": BROWSER}).text
    assert "Not well" in page
    assert "worker or relay" not in page
    assert "/signals/" not in page
    assert client.get("/health/", headers={"accept": "*/*"}).json()
