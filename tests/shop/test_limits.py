"""How many emails strangers can ask for, whatever they do to look like others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.db.models import F
from django.test import Client, RequestFactory

from customers.limits import KEPT, inbox_of
from customers.models import Quota
from customers.visitors import network_of
from signal_tasks.testing import run_pending
from tests.shop.test_races import at_once

pytestmark = pytest.mark.django_db
VICTIM = "victim@example.org"


def ask(
    email: str = VICTIM, client: Client | None = None, address: str = "192.0.2.1"
) -> int:
    """Ask for the newsletter, as a new visitor if no other is given."""
    browser = client or Client()
    form = {"user_email": email}
    return browser.post("/newsletter/subscribe/", form, REMOTE_ADDR=address).status_code


def sent() -> int:
    run_pending()
    return len(mail.outbox)


def test_one_inbox_gets_few_links_however_its_address_is_written():
    spellings = [f"victim+{n}@example.org" for n in range(8)]
    for address in [*spellings, "VICTIM@Example.ORG", "Victim+X@EXAMPLE.org"]:
        assert ask(address) == 302  # the answer does not tell
    assert sent() == 3


def test_all_that_can_be_asked_for_is_counted_together(mug, settings):
    browser = Client()
    order = {"product": mug.slug, "quantity": 1, "name": "A", "email": VICTIM}
    browser.post("/register/", {"email": VICTIM})
    browser.post("/orders/", order)
    browser.post("/newsletter/subscribe/", {"user_email": VICTIM})
    browser.post("/newsletter/unsubscribe/", {"user_email": VICTIM})
    browser.post("/register/", {"email": VICTIM})
    assert sent() == 3


def test_one_visitor_asks_for_few_and_is_told():
    visitor = Client()
    answers = [ask(f"v{n}@example.org", visitor) for n in range(8)]
    assert answers == [302] * 6 + [429] * 2
    assert sent() == 6


def test_a_program_is_told_in_json():
    visitor = Client(headers={"accept": "application/json"})
    answers = [ask(f"v{n}@example.org", visitor) for n in range(7)]
    assert answers == [200] * 6 + [429]


def test_one_network_asks_for_few_whoever_it_says_it_is(settings):
    settings.EMAILS_PER_HOUR = {**settings.EMAILS_PER_HOUR, "network": 4}
    for n in range(6):
        ask(f"v{n}@example.org", address=f"192.0.2.{n}")
    assert sent() == 4
    assert ask("w@example.org", address="198.51.100.1") == 302
    assert sent() == 5


def test_a_placed_order_stands_when_its_link_is_refused(mug):
    visitor = Client()
    for n in range(6):
        ask(f"v{n}@example.org", visitor)
    order = {"product": mug.slug, "quantity": 1, "name": "A", "email": VICTIM}
    page = visitor.post("/orders/", order, follow=True)
    assert "is placed" in page.text
    assert "Too many emails were requested" in page.text


def test_who_is_refused_uses_up_nothing_of_the_owner():
    visitor = Client()
    for n in range(6):
        ask(f"v{n}@example.org", visitor)
    for _ in range(5):
        ask(VICTIM, visitor)
    mail.outbox.clear()
    assert ask(VICTIM) == 302
    assert sent() >= 1


def test_after_an_hour_it_begins_anew():
    for _ in range(4):
        ask()
    Quota.objects.update(hour=F("hour") - timedelta(hours=1))
    ask()
    assert sent() == 4


def test_old_counts_are_removed_and_none_tells_an_address():
    ask()
    assert all(len(quota.key) == 64 for quota in Quota.objects.all())
    Quota.objects.update(hour=F("hour") - KEPT - timedelta(hours=1))
    ask("other@example.org")
    assert Quota.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_many_at_once_get_no_more_than_one_after_the_other():
    assert at_once(*[ask] * 6) == [302] * 6
    assert sent() == 3


@pytest.mark.parametrize(
    "same",
    [
        ("Ada@Example.org", "ada+shop@example.org", " ada@EXAMPLE.ORG "),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
    ],
)
def test_spellings_of_one_inbox_are_one(same):
    assert len({inbox_of(address) for address in same}) == 1


@pytest.mark.parametrize(
    ("proxies", "forwarded", "network"),
    [
        (0, "203.0.113.9", "192.0.2.0/24"),
        (1, "203.0.113.9", "203.0.113.0/24"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.0/24"),
        (2, "198.51.100.1, 203.0.113.9", "198.51.100.0/24"),
        (1, "2001:db8:1:2ff::1", "2001:db8:1:200::/56"),
        (2, "203.0.113.9", "unknown"),
        (1, "", "unknown"),
        (1, "nonsense", "unknown"),
    ],
)
def test_a_network_is_what_the_trusted_proxies_saw(
    settings, proxies, forwarded, network
):
    settings.TRUSTED_PROXIES = proxies
    headers = {"x-forwarded-for": forwarded}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="192.0.2.7")
    assert network_of(request) == network
