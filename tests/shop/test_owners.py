"""Whose orders these are: nobody else learns that they exist."""

from __future__ import annotations

import pytest
from django.test import Client

from orders.models import Order
from orders.services import place_order

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(mug, place):
    return place((mug, 1))


@pytest.mark.parametrize("page", ["", "deliveries/"])
def test_a_stranger_finds_no_page_of_an_order(order, client, page):
    address = f"/orders/{order.pk}/{page}"
    assert client.get(address).status_code != 404
    assert Client().get(address).status_code == 404


@pytest.mark.parametrize("verb", ["confirm", "cancel"])
def test_a_stranger_cannot_act_on_an_order(order, verb):
    assert Client().post(f"/orders/{order.pk}/{verb}/").status_code == 404
    order.refresh_from_db()
    assert order.status == Order.Status.PLACED


def test_the_list_shows_ones_own_orders_only(order, client):
    assert str(order) in client.get("/orders/").content.decode()
    assert "No orders yet" in Client().get("/orders/").content.decode()


def test_the_orders_of_a_user_are_theirs_on_each_machine(mug, django_user_model):
    ada, eve = (django_user_model.objects.create_user(name) for name in ("ada", "eve"))
    home, office, elsewhere = Client(), Client(), Client()
    home.force_login(ada)
    form = {"product": mug.slug, "quantity": 1, "name": "A", "email": "a@example.com"}
    address = home.post("/orders/", form)["Location"]
    office.force_login(ada)
    assert office.get(address).status_code == 200
    elsewhere.force_login(eve)
    assert elsewhere.get(address).status_code == 404


def test_orders_that_nobody_is_known_to_have_placed_are_nobodys(mug):
    order = place_order(name="A", email="a@example.com", lines=[(mug, 1)])
    assert Client().get(f"/orders/{order.pk}/").status_code == 404


def test_staff_see_and_act_on_all_orders(order, admin_client):
    assert str(order) in admin_client.get("/orders/").content.decode()
    assert admin_client.post(f"/orders/{order.pk}/cancel/").status_code == 302
    order.refresh_from_db()
    assert order.status == Order.Status.CANCELLED


def test_what_was_ordered_before_signing_in_stays_ones_own(
    order, client, django_user_model
):
    client.force_login(django_user_model.objects.create_user("ada"))
    assert client.get(f"/orders/{order.pk}/").status_code == 200


def test_whoever_signs_out_leaves_nothing_behind(order, client, django_user_model):
    client.force_login(django_user_model.objects.create_user("ada"))
    client.logout()
    assert client.get(f"/orders/{order.pk}/").status_code == 404
