"""Dead work is told as dead: to customers in their words, to staff with the way out."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.urls import reverse

from signal_tasks import deliveries_of
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db
ADA = "ada@example.com"
REFUSED = "550 No such user"
TOLD = "We could not send the confirmation. We look after it."


@pytest.fixture
def order(post_office, confirmed, mug):
    post_office.answers[ADA] = REFUSED
    order = confirmed((mug, 1))
    run_pending()
    order.refresh_from_db()
    return order


def delivery_page(event_id: UUID, receiver: str) -> str:
    found = {each.receiver: each.id for each in deliveries_of(event_id)}
    return reverse("signal_tasks:delivery", args=[found[receiver]])


def test_an_order_page_does_not_say_done_of_a_dead_email(client, order):
    page = client.get(f"/orders/{order.pk}/").text
    assert TOLD in page
    assert "1 of 2 done, 1 failed" in page
    assert "/signals/" not in page


def test_staff_find_the_dead_delivery_and_the_way_out(admin_client, order):
    receiver = "notifications.receivers.send_order_confirmation"
    address = delivery_page(order.confirmation_event_id, receiver)
    assert f'<a href="{address}">See why, and replay it</a>' in (
        admin_client.get(f"/orders/{order.pk}/").text
    )
    assert "/signals/operations/new/?verb=replay" in admin_client.get(address).text


def test_whoever_waits_for_a_link_is_told_that_it_could_not_be_sent(
    client, post_office, mug
):
    post_office.answers["eve@example.com"] = REFUSED
    form = {"product": mug.slug, "quantity": 1, "name": "E", "email": "eve@example.com"}
    address = client.post("/orders/", form)["Location"]
    assert "0 of 1 done" in client.get(address).text
    run_pending()
    assert "We could not send you the link." in client.get(address).text


def test_a_notification_that_is_asked_for_again_is_not_promised_if_it_is_dead(
    admin_client, post_office
):
    post_office.answers["eve@example.com"] = REFUSED
    once = admin_client.get("/notify/").context["form"]["once"].value()
    form = {"email": "eve@example.com", "username": "Eve", "once": once}
    assert "waits for a worker" in admin_client.post("/notify/", form).text
    run_pending()
    assert "could not be sent" in admin_client.post("/notify/", form).text
