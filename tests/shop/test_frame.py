"""What every page has: a policy, a frame, an answer to what goes wrong."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.template.loader import get_template
from django.test import Client, RequestFactory

from shop.middleware import own_error_pages

INLINE = re.compile(r"<style|<script(?![^>]*src=)|\s(style|on\w+|hx-on[^=]*)=")
PAGES = (
    "/",
    "/basket/",
    "/orders/",
    "/register/",
    "/login/",
    "/newsletter/",
    "/nowhere/",
)


@pytest.mark.django_db
@pytest.mark.parametrize("address", PAGES)
def test_no_page_needs_what_its_own_policy_refuses(client, address):
    response = client.get(address)
    assert "default-src 'self'" in response["Content-Security-Policy"]
    assert not INLINE.search(response.content.decode())


def test_a_probe_is_answered_whatever_its_host_and_without_a_database(settings):
    settings.SECURE_SSL_REDIRECT = True
    response = Client().get("/alive/", headers={"host": "10.0.0.7:8000"})
    assert (response.status_code, response.content) == (200, b"alive\n")


def test_a_form_without_its_token_is_told_what_to_do():
    response = Client(enforce_csrf_checks=True).post("/orders/", {})
    assert response.status_code == 403
    assert b"send the form again" in response.content


def test_the_page_of_errors_needs_nothing_that_may_have_failed():
    page = get_template("500.html").render()
    assert "Something went wrong" in page
    assert not INLINE.search(page)


@pytest.mark.django_db
def test_in_a_demo_a_page_that_is_not_there_is_the_shops_own(client, settings):
    settings.DEBUG = settings.SHOP_DEMO = True
    for address in ("/nowhere/", "/orders/7/"):
        response = client.get(address)
        assert response.status_code == 404
        assert "There is nothing here" in response.text
        assert "Traceback" not in response.text
    settings.SHOP_DEMO = False
    assert "DEBUG = True" in client.get("/nowhere/").text


def test_in_a_demo_a_failure_is_told_by_the_page_of_the_shop(settings):
    settings.DEBUG = settings.SHOP_DEMO = True
    request = RequestFactory().get("/")
    failing = own_error_pages(lambda request: HttpResponse("settings", status=500))
    response = failing(request)
    assert response.status_code == 500
    assert b"Something went wrong" in response.content


@pytest.mark.django_db
def test_who_may_not_see_a_page_is_told_so_in_a_demo_too(client, settings):
    settings.DEBUG = settings.SHOP_DEMO = True
    client.force_login(User.objects.create_user("ada"))
    response = client.get("/signals/")
    assert response.status_code == 403
    assert "You are signed in as ada" in response.text


@pytest.mark.django_db
def test_each_page_says_how_much_is_in_the_basket(client, mug):
    assert 'class="count"' not in client.get("/").text
    client.post("/basket/", {"product": mug.slug, "quantity": 3})
    assert '<span class="count">3</span>' in client.get("/orders/").text
    assert '<span class="count">3</span>' in client.get("/nowhere/").text
