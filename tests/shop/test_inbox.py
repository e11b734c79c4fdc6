"""The inbox: what was sent, for staff to read, with nothing in it that can act."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from notifications.models import Notification
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


@pytest.fixture
def mail(mug, confirmed):
    confirmed((mug, 1))
    run_pending()
    return Notification.objects.get()


def text(response: HttpResponse) -> str:
    return response.content.decode()


def test_staff_see_each_message_and_find_it_by_its_recipient(admin_client, mail):
    assert mail.subject in text(admin_client.get("/inbox/"))
    assert mail.subject in text(admin_client.get("/inbox/?to=ada@"))
    assert "Nothing was sent to" in text(admin_client.get("/inbox/?to=eve@"))


def test_a_message_is_shown_as_it_was_sent(admin_client, mail):
    page = text(admin_client.get(f"/inbox/{mail.pk}/"))
    assert mail.message_id.strip("<>") in page
    assert "1 x Enamel mug at EUR 14.50" in page
    assert f'href="/orders/{mail.order_id}/"' in page


def test_a_message_leads_to_its_delivery(admin_client, mail):
    delivery = reverse("admin:signal_tasks_delivery_change", args=[mail.key])
    assert delivery in text(admin_client.get(f"/inbox/{mail.pk}/"))
    assert admin_client.get(delivery).status_code == 200


def test_the_html_of_a_message_is_a_document_that_can_do_nothing(admin_client, mail):
    page = text(admin_client.get(f"/inbox/{mail.pk}/"))
    assert f'src="/inbox/{mail.pk}/html/" sandbox' in page
    response = admin_client.get(f"/inbox/{mail.pk}/html/")
    assert text(response) == mail.html
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "sandbox" in response["Content-Security-Policy"]
    assert response["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize("address", ["/inbox/", "/inbox/{}/", "/inbox/{}/html/"])
def test_nobody_else_finds_an_inbox(client, mail, django_user_model, address):
    user = Client()
    user.force_login(django_user_model.objects.create_user("ada"))
    for browser in (client, user):
        assert browser.get(address.format(mail.pk)).status_code == 404


def test_it_comes_in_pages_at_a_constant_number_of_queries(
    admin_client, mail, django_assert_max_num_queries
):
    for number in range(25):
        Notification.objects.create(
            key=f"{number:032x}", kind="welcome", recipient="a@example.com"
        )
    with django_assert_max_num_queries(4):
        assert "Page 1 of 2" in text(admin_client.get("/inbox/"))
