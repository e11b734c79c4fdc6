"""The inbox: what was sent, for staff to read, with nothing in it that can act."""

from __future__ import annotations

import re

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
    delivery = reverse("signal_tasks:delivery", args=[mail.key])
    assert delivery in text(admin_client.get(f"/inbox/{mail.pk}/"))
    assert admin_client.get(delivery).status_code == 200


def test_the_html_of_a_message_is_a_document_that_can_only_open_its_links(
    admin_client, mail
):
    page = text(admin_client.get(f"/inbox/{mail.pk}/"))
    sandbox = "allow-popups allow-popups-to-escape-sandbox"
    assert f'src="/inbox/{mail.pk}/html/" sandbox="{sandbox}"' in page
    response = admin_client.get(f"/inbox/{mail.pk}/html/")
    assert text(response) == mail.html
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert response["Content-Security-Policy"].endswith(f"; sandbox {sandbox}")
    assert '<base target="_blank">' in mail.html
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


@pytest.fixture
def demo(settings, tmp_path):
    """A shop that is tried out, whose emails are files."""
    settings.DEBUG = settings.SHOP_DEMO = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)


def test_whoever_tries_the_shop_out_finds_the_links_of_its_emails(client, demo, mug):
    order = {"product": mug.slug, "quantity": 1, "name": "A", "email": "a@example.com"}
    page = client.post("/orders/", order, follow=True).text
    assert 'href="/inbox/?to=a%40example.com"' in page
    run_pending()
    sent = Notification.objects.get()
    assert f'href="/inbox/{sent.pk}/"' in client.get("/inbox/?to=a@example.com").text
    page = client.get(f"/inbox/{sent.pk}/").text
    link = re.search(r'href="http://localhost:8000(/proof/[^"]+)"', page)
    assert link is not None
    assert client.get(link[1]).status_code == 200
    assert link[1] in client.get(f"/inbox/{sent.pk}/html/").text


def test_a_deployment_shows_no_link_to_whoever_may_read_the_inbox(
    admin_client, client, mug, settings, tmp_path
):
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    order = {"product": mug.slug, "quantity": 1, "name": "A", "email": "a@example.com"}
    client.post("/orders/", order)
    run_pending()
    sent = Notification.objects.get()
    assert "/proof/" not in admin_client.get(f"/inbox/{sent.pk}/").text
    assert client.get(f"/inbox/{sent.pk}/").status_code == 404
