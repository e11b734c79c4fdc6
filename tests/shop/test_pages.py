"""What a person sees, page by page."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.core import mail
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from orders.models import Order
from products.models import Product
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


def form_for(product: Product, /, **changes: object) -> dict[str, object]:
    return {
        "product": product.slug,
        "quantity": 2,
        "name": "Ada Muster",
        "email": "ada@example.com",
        **changes,
    }


def text(response: HttpResponse) -> str:
    return response.content.decode()


def test_the_catalogue_shows_each_product_and_what_is_left(client, add_product):
    add_product("Mug", stock=10)
    add_product("Candle", stock=2)
    add_product("Teapot", stock=0)
    page = text(client.get("/"))
    assert all(name in page for name in ("Mug", "Candle", "Teapot"))
    assert "Only 2 left" in page
    assert "On back-order" in page


def test_an_empty_catalogue_says_how_to_fill_it(client):
    assert "manage.py seed" in text(client.get("/"))


def test_a_product_page_has_a_form_that_places_an_order(client, mug):
    assert 'action="/orders/"' in text(client.get("/products/enamel-mug/"))
    response = client.post("/orders/", form_for(mug), follow=True)
    order = Order.objects.get()
    assert response.redirect_chain == [(f"/orders/{order.pk}/", 302)]
    assert f"Order {order.pk} is placed" in text(response)
    assert order.quantities() == {mug.pk: 2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"quantity": 100},
        {"quantity": "x"},
        {"email": "no"},
        {"name": ""},
    ],
)
def test_a_wrong_form_comes_back_with_its_errors(client, mug, wrong):
    response = client.post("/orders/", form_for(mug, **wrong))
    assert response.status_code == 422
    assert "errorlist" in text(response)
    assert not Order.objects.exists()


def test_an_order_of_an_unknown_product_is_not_found(client, mug):
    response = client.post("/orders/", form_for(mug, product="no-such-thing"))
    assert response.status_code == 404


def test_a_form_from_elsewhere_is_refused(mug):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/orders/", form_for(mug)).status_code == 403


def test_the_list_shows_the_newest_order_first(client, mug, place):
    older, newer = place((mug, 1)), place((mug, 1))
    page = text(client.get("/orders/"))
    assert page.index(f"/orders/{newer.pk}/") < page.index(f"/orders/{older.pk}/")


def test_the_list_comes_in_pages_at_a_constant_number_of_queries(
    client, mug, place, django_assert_max_num_queries
):
    for _ in range(21):
        place((mug, 1))
    with django_assert_max_num_queries(4):
        assert "Page 1 of 2" in text(client.get("/orders/"))
    assert "Page 2 of 2" in text(client.get("/orders/?page=2"))


def test_confirming_is_one_button(client, mug, place):
    order = place((mug, 1))
    assert reverse("confirm", args=[order.pk]) in text(
        client.get(f"/orders/{order.pk}/")
    )
    response = client.post(f"/orders/{order.pk}/confirm/", follow=True)
    assert f"Order {order.pk} is confirmed" in text(response)


def test_confirming_twice_says_so_and_sends_nothing(client, mug, place):
    order = place((mug, 1))
    client.post(f"/orders/{order.pk}/confirm/")
    run_pending()
    response = client.post(f"/orders/{order.pk}/confirm/", follow=True)
    assert "was already confirmed" in text(response)
    assert run_pending() == []
    assert len(mail.outbox) == 1


def test_confirming_by_get_is_refused_and_says_what_to_use(client, mug, place):
    order = place((mug, 1))
    response = client.get(f"/orders/{order.pk}/confirm/")
    assert response.status_code == 405
    assert response["Allow"] == "POST"
    assert "use POST" in text(response)
    order.refresh_from_db()
    assert order.status == Order.Status.PLACED


def test_other_pages_refuse_other_methods_too(client, mug):
    response = client.delete("/products/enamel-mug/")
    assert response.status_code == 405
    assert "GET or HEAD" in text(response)


@pytest.mark.parametrize(
    "address",
    ["/nowhere/", "/products/no/", "/orders/7/", f"/orders/{10**30}/deliveries/"],
)
def test_what_is_not_there_is_not_found(client, address):
    response = client.get(address)
    assert response.status_code == 404
    assert "There is nothing here" in text(response)


def test_the_page_of_a_placed_order_waits_for_nothing(client, mug, place):
    assert "data-ended" in text(client.get(f"/orders/{place((mug, 1)).pk}/deliveries/"))


def test_the_page_of_a_confirmed_order_follows_its_deliveries(client, mug, confirmed):
    fragment = f"/orders/{confirmed((mug, 1)).pk}/deliveries/"
    before = client.get(fragment)
    assert "no-store" in before["Cache-Control"]
    assert text(before).count('<li class="pending">') == 2
    assert "data-ended" not in text(before)
    run_pending()
    response = client.get(fragment)
    assert response.status_code == 286  # htmx asks no more
    after = text(response)
    assert after.count('<li class="succeeded">') == 2
    assert "1 attempt" in after
    assert "is confirmed" in after
    assert "data-ended" in after


def test_the_page_of_a_back_ordered_order_says_what_waits(
    client, add_product, confirmed
):
    order = confirmed((add_product("Candle", stock=2), 3))
    run_pending()
    page = text(client.get(f"/orders/{order.pk}/"))
    assert "1 on back-order, 2 taken from stock" in page
    assert "Send back order notice" in page
    assert page.count('<li class="succeeded">') == 3


def test_the_page_of_an_old_order_says_that_its_details_are_gone(
    client, mug, confirmed
):
    order = confirmed((mug, 1))
    Order.objects.update(confirmation_event_id=uuid4())  # as if they had been pruned
    page = text(client.get(f"/orders/{order.pk}/"))
    assert "no longer kept" in page
    assert "data-ended" in page


def test_a_name_with_markup_is_shown_as_text(client, mug):
    client.post("/orders/", form_for(mug, name="<script>alert(1)</script>"))
    assert "<script>alert" not in text(client.get("/orders/"))


def test_sample_products_are_added_once(client):
    call_command("seed", verbosity=0, stdout=None)
    many = Product.objects.count()
    Product.objects.filter(slug="enamel-camp-mug").update(stock=1)
    call_command("seed")
    assert Product.objects.count() == many >= 12
    assert Product.objects.get(slug="enamel-camp-mug").stock == 1


def test_an_order_can_be_cancelled_from_its_page(client, mug, confirmed):
    order = confirmed((mug, 1))
    page = text(client.get(f"/orders/{order.pk}/"))
    assert reverse("cancel", args=[order.pk]) in page
    response = client.post(f"/orders/{order.pk}/cancel/", follow=True)
    assert f"Order {order.pk} is cancelled" in text(response)
    run_pending()
    page = text(client.get(f"/orders/{order.pk}/"))
    assert "Give back inventory" in page
    assert reverse("cancel", args=[order.pk]) not in page


def test_cancelling_twice_says_so_and_sends_nothing(client, mug, place):
    order = place((mug, 1))
    client.post(f"/orders/{order.pk}/cancel/")
    run_pending()
    response = client.post(f"/orders/{order.pk}/cancel/", follow=True)
    assert "was already cancelled" in text(response)
    assert run_pending() == []


def test_a_cancelled_order_cannot_be_confirmed(client, mug, place):
    order = place((mug, 1))
    client.post(f"/orders/{order.pk}/cancel/")
    response = client.post(f"/orders/{order.pk}/confirm/", follow=True)
    assert "it cannot be confirmed" in text(response)


def test_each_sample_product_has_a_picture_of_its_own_and_another_its_letter(
    client, mug
):
    call_command("seed", verbosity=0)
    page = text(client.get("/"))
    drawn = re.findall(r'<svg class="picture".*?</svg>', page)
    assert len(set(drawn)) == len(drawn) == Product.objects.count() - 1
    assert page.count('<svg class="tile"') == 1


def test_the_first_page_says_what_the_shop_shows_and_where_to_look(client, settings):
    assert "shows durable signals" in text(client.get("/"))
    assert "/incident/" not in text(client.get("/"))
    settings.DEBUG = settings.SHOP_DEMO = True
    page = text(client.get("/"))
    for address in ("/inbox/", "/incident/", "/signals/"):
        assert f'href="{address}"' in page
