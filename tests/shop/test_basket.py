"""Several products in one order, from a basket that needs no JavaScript."""

from __future__ import annotations

import pytest

from orders.models import Order

pytestmark = pytest.mark.django_db
ADA = {"name": "Ada Muster", "email": "ada@example.com"}


@pytest.fixture
def put(client):
    def put_in(product, quantity):
        form = {"product": product.slug, "quantity": quantity}
        return client.post("/basket/", form, follow=True)

    return put_in


def test_an_order_of_the_basket_has_a_line_for_each_product(client, add_product, put):
    mug, pan = add_product("Mug"), add_product("Pan")
    put(mug, 2)
    put(pan, 1)
    client.post("/basket/order/", ADA)
    assert Order.objects.get().quantities() == {mug.pk: 2, pan.pk: 1}
    assert "nothing in it yet" in client.get("/basket/").content.decode()


def test_more_of_the_same_is_added_up(client, mug, put):
    put(mug, 2)
    assert 'value="5"' in put(mug, 3).content.decode()


def test_a_quantity_is_changed_and_none_takes_the_product_out(client, mug, put):
    put(mug, 2)
    change = {"product": mug.slug, "quantity": 7}
    page = client.post("/basket/change/", change, follow=True).content.decode()
    assert 'value="7"' in page
    page = client.post("/basket/change/", {**change, "quantity": 0}, follow=True)
    assert "nothing in it yet" in page.content.decode()


@pytest.mark.parametrize("quantity", ["-1", "100", "x", ""])
def test_a_quantity_that_makes_no_sense_changes_nothing(client, mug, put, quantity):
    put(mug, 2)
    change = {"product": mug.slug, "quantity": quantity}
    page = client.post("/basket/change/", change, follow=True).content.decode()
    assert 'class="error"' in page
    assert 'value="2"' in page


def test_no_more_goes_in_than_can_be_ordered(client, mug, put):
    put(mug, 60)
    assert 'value="99"' in put(mug, 60).content.decode()


def test_a_wrong_quantity_comes_back_with_its_error(client, mug):
    wrong = {"product": mug.slug, "quantity": 0}
    assert client.post("/basket/", wrong).status_code == 422


def test_a_wrong_address_comes_back_and_the_basket_is_kept(client, mug, put):
    put(mug, 2)
    response = client.post("/basket/order/", {**ADA, "email": "no"})
    assert response.status_code == 422
    assert 'value="2"' in response.content.decode()
    assert not Order.objects.exists()


def test_an_empty_basket_cannot_be_ordered(client, mug):
    page = client.post("/basket/order/", ADA, follow=True).content.decode()
    assert "nothing in your basket" in page
    assert not Order.objects.exists()


def test_a_product_that_is_gone_is_not_in_the_basket_any_more(client, mug, put):
    put(mug, 2)
    mug.delete()
    assert "nothing in it yet" in client.get("/basket/").content.decode()


def test_a_user_need_not_type_what_is_known(client, mug, django_user_model, put):
    user = django_user_model.objects.create_user(
        "ada", "ada@example.com", first_name="Ada", last_name="Muster"
    )
    client.force_login(user)
    put(mug, 1)
    page = client.get("/basket/").content.decode()
    assert 'value="ada@example.com"' in page
    assert 'value="Ada Muster"' in page
