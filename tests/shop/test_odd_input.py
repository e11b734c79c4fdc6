"""Characters and numbers that no browser sends: a clear answer, never an error 500."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db
QUERIES = (
    "/?page=%00",
    "/inbox/?to=%00",
    "/orders/?page=%00",
    "/orders/?%00=1",
    "/newsletter/unsubscribe/%00/",
    "/admin/customers/customer/?q=%00",
    "/admin/orders/order/?status=%00",
    "/products/a%00b/",
)
FORMS = ("/orders/", "/basket/", "/basket/change/", "/newsletter/subscribe/", "/login/")


@pytest.fixture
def browser() -> Client:
    """The browser of a superuser, which shows an error as a person sees it."""
    found = Client(raise_request_exception=False)
    found.force_login(User.objects.create_superuser("root", "root@example.com"))
    return found


@pytest.mark.parametrize("address", QUERIES)
def test_a_nul_in_an_address_is_a_bad_request(browser, address):
    response = browser.get(address)
    assert response.status_code == 400
    assert "could not read this request" in response.text


@pytest.mark.parametrize("path", FORMS)
def test_a_nul_in_a_form_is_a_bad_request(browser, path):
    assert browser.post(path, {"product": "a\0b", "name": "A"}).status_code == 400
    assert browser.post(path, {"pro\0duct": "a"}).status_code == 400


def test_a_nul_in_a_cookie_is_a_bad_request(mug):
    browser = Client(raise_request_exception=False)
    browser.cookies["sessionid"] = "\0" + 31 * "a"
    assert browser.get("/orders/").status_code == 400


@pytest.mark.parametrize(
    "address",
    [
        "/orders/" + "9" * 20 + "/",
        "/orders/" + "9" * 5000 + "/",
        "/inbox/" + "9" * 20 + "/",
        "/products/" + "x" * 5000 + "/",
        "/newsletter/unsubscribe/1:x/",
    ],
)
def test_an_address_that_makes_no_sense_is_not_found(browser, address):
    assert browser.get(address).status_code == 404


@pytest.mark.parametrize(
    "page", ["-1", "0", "x", "9" * 22, "9" * 5000, "%ff", "%F0%9F"]
)
@pytest.mark.parametrize(
    "path", ["/orders/", "/inbox/", "/products/enamel-mug/reviews/"]
)
def test_a_page_number_that_makes_no_sense_shows_some_page(browser, mug, path, page):
    assert browser.get(f"{path}?page={page}").status_code == 200


@pytest.mark.parametrize("quantity", ["9" * 5000, "1e9", "٣", "-0"])
def test_a_quantity_that_makes_no_sense_is_refused_or_read(browser, mug, quantity):
    form = {"product": mug.slug, "quantity": quantity}
    assert browser.post("/basket/", form).status_code in (302, 422)
