"""What every page has: a policy, a frame, an answer to what goes wrong."""

from __future__ import annotations

import re

import pytest
from django.template.loader import get_template
from django.test import Client

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
