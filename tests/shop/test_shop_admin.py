"""The shop's models in the admin."""

from __future__ import annotations

import pytest
from django.urls import reverse

from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "name",
    [
        "customers_customer",
        "products_product",
        "products_stockmovement",
        "orders_order",
        "notifications_notification",
    ],
)
def test_each_model_has_a_list_and_a_page(admin_client, mug, confirmed, name):
    confirmed((mug, 12))
    run_pending()
    listed = admin_client.get(reverse(f"admin:{name}_changelist"))
    assert listed.status_code == 200
    row = listed.context["cl"].result_list[0]
    page = admin_client.get(reverse(f"admin:{name}_change", args=[row.pk]))
    assert page.status_code == 200


def test_nobody_edits_an_order_there(admin_client, mug, place):
    address = reverse("admin:orders_order_change", args=[place((mug, 1)).pk])
    assert admin_client.post(address, {}).status_code == 403


def test_what_arrives_is_added_and_the_stock_itself_is_no_field(admin_client, mug):
    address = reverse("admin:products_product_change", args=[mug.pk])
    changes = {"name": "Big mug", "slug": mug.slug, "price": "15", "arrived": "5"}
    assert admin_client.post(address, {**changes, "stock": "1"}).status_code == 302
    mug.refresh_from_db()
    assert (mug.name, mug.stock) == ("Big mug", 15)


def test_a_new_product_comes_with_what_arrived(admin_client, db):
    address = reverse("admin:products_product_add")
    new = {"name": "Bowl", "slug": "bowl", "price": "9", "arrived": "3"}
    assert admin_client.post(address, new).status_code == 302
    assert admin_client.get("/products/bowl/").context["product"].stock == 3
