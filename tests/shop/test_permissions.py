"""Being staff opens nothing by itself: each page asks for the admin's permission."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.core import mail
from django.test import Client

from notifications.models import Notification
from orders.models import Order
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(mug, confirmed):
    placed = confirmed((mug, 1))
    run_pending()
    return placed


def clerk(*permissions: str) -> Client:
    """The browser of somebody on the staff with these permissions and no others."""
    user = User.objects.create_user("clerk", "clerk@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Client()
    browser.force_login(user)
    run_pending()
    return browser


def test_staff_without_permissions_find_no_order_of_others(order):
    browser = clerk()
    for page in ("", "deliveries/"):
        assert browser.get(f"/orders/{order.pk}/{page}").status_code == 404
    for verb in ("confirm", "cancel"):
        assert browser.post(f"/orders/{order.pk}/{verb}/").status_code == 404
    assert str(order) not in browser.get("/orders/").text


def test_who_may_view_orders_sees_them_and_changes_none(order):
    browser = clerk("view_order")
    page = browser.get(f"/orders/{order.pk}/")
    assert page.status_code == 200
    assert "Cancel order" not in page.text
    for verb in ("confirm", "cancel"):
        assert browser.post(f"/orders/{order.pk}/{verb}/").status_code == 403
    order.refresh_from_db()
    assert order.status == Order.Status.CONFIRMED


def test_who_may_change_orders_cancels_them(order):
    browser = clerk("view_order", "change_order")
    assert "Cancel order" in browser.get(f"/orders/{order.pk}/").text
    assert browser.post(f"/orders/{order.pk}/cancel/").status_code == 302
    order.refresh_from_db()
    assert order.status == Order.Status.CANCELLED


def test_staff_without_permissions_find_no_inbox(order):
    sent, browser = Notification.objects.get(), clerk()
    for page in ("", f"{sent.pk}/", f"{sent.pk}/html/"):
        assert browser.get(f"/inbox/{page}").status_code == 404
    assert 'href="/inbox/"' not in browser.get("/").text


def test_who_may_view_notifications_reads_the_inbox_alone(order):
    sent, browser = Notification.objects.get(), clerk("view_notification")
    page = browser.get(f"/inbox/{sent.pk}/")
    assert page.status_code == 200
    assert f"/orders/{order.pk}/" not in page.text
    assert "/admin/signal_tasks/delivery/" not in page.text


def test_staff_without_permissions_write_to_nobody_else(order):
    mail.outbox.clear()
    response = clerk().post("/notify/", {"email": "bob@example.com", "username": "Bob"})
    assert response.status_code == 422
    assert run_pending() == []


def test_who_may_add_notifications_writes_to_anybody(order):
    mail.outbox.clear()
    browser = clerk("add_notification")
    browser.post("/notify/", {"email": "bob@example.com", "username": "Bob"})
    run_pending()
    assert [message.to for message in mail.outbox] == [["bob@example.com"]]
