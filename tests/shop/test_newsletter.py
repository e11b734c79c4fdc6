"""Subscribing to the newsletter, and leaving it."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import EmailMessage
from django.db import transaction
from django.test import Client

from customers.models import Subscriber
from customers.newsletter import subscribe, unsubscribe, unsubscribe_token
from customers.signals import user_subscribed, user_unsubscribed
from signal_tasks.testing import assert_sent, capture_signals, run_pending

pytestmark = pytest.mark.django_db
ADA = "ada@example.com"
JSON = {"accept": "application/json"}


def link_of(message: EmailMessage) -> str:
    found = re.fullmatch(r"<http://localhost:8000(/.*)>", header(message))
    assert found is not None
    return found[1]


def only() -> Subscriber:
    return Subscriber.objects.get()


def header(message: EmailMessage, name: str = "List-Unsubscribe") -> str:
    return str(message.message()[name])


@pytest.fixture
def link(db: None) -> str:
    """The leave link in the email to a subscriber."""
    subscribe(email=ADA)
    run_pending()
    return link_of(mail.outbox.pop())


def test_subscribing_begins_with_a_link_to_the_address(client, link_to):
    response = client.post("/newsletter/subscribe/", {"user_email": ADA}, follow=True)
    assert "A link is on its way to ada@example.com" in response.text
    assert "Get the newsletter?" in client.get(link_to(ADA)).text
    assert not Subscriber.objects.exists()


def test_subscribing_sends_an_email_with_a_way_out(client, link_to):
    client.post("/newsletter/subscribe/", {"user_email": ADA})
    response = client.post(link_to(ADA), follow=True)
    assert "ada@example.com gets the newsletter." in response.text
    mail.outbox.clear()
    run_pending()
    [message] = mail.outbox
    assert message.to == [ADA]
    assert header(message, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    assert link_of(message) in message.body
    assert (
        f'href="http://localhost:8000{link_of(message)}"' in message.alternatives[0][0]  # type: ignore[attr-defined]
    )


def test_subscribing_sends_the_signal_with_the_address(client, link_to):
    client.post("/newsletter/subscribe/", {"user_email": " Ada@Example.com"})
    with capture_signals():
        client.post(link_to(ADA))
        assert assert_sent(user_subscribed, user_email=ADA).sender is Subscriber
        client.post("/newsletter/unsubscribe/", {"user_email": ADA})
        client.post(f"/newsletter/unsubscribe/{unsubscribe_token(only())}/")
        assert assert_sent(user_unsubscribed, user_email=ADA).sender is Subscriber


def test_subscribing_twice_sends_nothing_twice_and_says_the_same(client, link_to):
    client.post("/newsletter/subscribe/", {"user_email": ADA})
    link = link_to(ADA)
    mail.outbox.clear()
    pages = [client.post(link, follow=True).text for _ in range(2)]
    assert all("gets the newsletter." in page for page in pages)
    run_pending()
    assert len(mail.outbox) == 1
    assert Subscriber.objects.count() == 1


@pytest.mark.parametrize("path", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Please give an email address."),
        ({"user_email": "  "}, "Please give an email address."),
        ({"user_email": "ada"}, "This is not an email address."),
    ],
)
def test_a_missing_or_wrong_address_is_refused_clearly(client, path, given, said):
    for headers in ({}, JSON):
        response = client.post(f"/newsletter/{path}/", given, headers=headers)
        assert response.status_code == 400
        assert said in response.text
    assert response.json() == {"errors": {"user_email": [said]}}
    assert run_pending() == []
    assert not Subscriber.objects.exists()


def test_a_program_is_answered_in_json(client):
    response = client.post("/newsletter/subscribe/", {"user_email": ADA}, headers=JSON)
    assert "A link is on its way to ada@example.com" in response.json()["message"]


def test_who_types_an_address_has_its_leave_link_sent_and_changes_nothing(
    client, link, link_to
):
    client.post("/newsletter/unsubscribe/", {"user_email": ADA})
    assert link_to(ADA) == link
    assert only().active


def test_unsubscribing_is_confirmed_once(client, link):
    for _ in range(2):
        client.post(link)
        run_pending()
    [message] = mail.outbox
    assert message.subject == "You get our newsletter no more"
    assert not Subscriber.objects.get().active


def test_an_unknown_address_is_told_the_same_and_sent_nothing(client):
    subscribe(email="bob@example.com")
    texts = []
    for address in (ADA, "bob@example.com"):
        form = {"user_email": address}
        page = client.post("/newsletter/unsubscribe/", form, follow=True).text
        assert f"If {address} gets the newsletter" in page
        texts.append(page.replace(address, "..."))
    run_pending()
    assert [message.to for message in mail.outbox if message.to == [ADA]] == []


def test_whoever_left_can_come_back(link):
    unsubscribe(email=ADA)
    assert subscribe(email=ADA) is True
    assert subscribe(email=ADA) is False
    assert Subscriber.objects.get().active


def test_whoever_left_before_the_letter_went_out_gets_none_but_the_last(db):
    subscribe(email=ADA)
    unsubscribe(email=ADA)
    run_pending()
    assert [message.subject for message in mail.outbox] == [
        "You get our newsletter no more"
    ]


def test_nobody_floods_somebody_else_with_letters(db):
    for _ in range(10):
        subscribe(email=ADA)
        run_pending()
        unsubscribe(email=ADA)
        run_pending()
    assert len(mail.outbox) == 6


def test_a_rolled_back_subscription_sends_nothing(db):
    with transaction.atomic():
        subscribe(email=ADA)
        transaction.set_rollback(True)
    assert run_pending() == []


# The link


def test_following_the_link_asks_and_changes_nothing(client, link):
    page = client.get(link)
    assert "Leave the newsletter?" in page.text
    assert Subscriber.objects.get().active
    assert run_pending() == []


def test_a_mail_program_leaves_with_one_click(link):
    program = Client(enforce_csrf_checks=True)  # and without a cookie
    response = program.post(link, {"List-Unsubscribe": "One-Click"})
    assert response.status_code == 200
    assert "You have left" in response.text
    assert not Subscriber.objects.get().active
    run_pending()
    assert len(mail.outbox) == 1


def test_the_link_works_again_and_again(client, link):
    for _ in range(2):
        assert "You have left" in client.post(link).text
    assert "You have left" in client.get(link).text


@pytest.mark.parametrize("token", ["1", "1:", "1:forged", "x:y:z", "é"])
def test_a_link_that_is_not_ours_is_not_found(client, link, token):
    for method in (client.get, client.post):
        assert method(f"/newsletter/unsubscribe/{token}/").status_code == 404
    assert Subscriber.objects.get().active


def test_the_link_of_one_does_not_let_another_leave(client, link):
    subscribe(email="bob@example.com")
    bob = Subscriber.objects.get(email="bob@example.com")
    signature = link.rpartition(":")[2]
    forged = f"/newsletter/unsubscribe/{bob.pk}:{signature}"
    assert client.post(forged).status_code == 404
    bob.refresh_from_db()
    assert bob.active
    assert client.post(f"/newsletter/unsubscribe/{unsubscribe_token(bob)}/")
    bob.refresh_from_db()
    assert not bob.active


def test_the_way_out_survives_a_real_mail_server(client, post_office):
    subscribe(email=ADA)
    run_pending()
    [letter] = post_office.received
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    address = "".join(letter["List-Unsubscribe"].split()).strip("<>")  # unfolded
    path = address.removeprefix("http://localhost:8000")
    assert "You have left" in client.post(path).text


# The page


def test_the_address_of_whoever_is_signed_in_is_there(client, db):
    assert 'name="user_email"' in client.get("/newsletter/").text
    client.force_login(User.objects.create_user("ada", ADA))
    for path in ("/newsletter/", "/newsletter/subscribe/", "/newsletter/unsubscribe/"):
        assert f'value="{ADA}"' in client.get(path).text


def test_the_form_of_another_site_is_refused(db):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/newsletter/subscribe/", {"user_email": ADA}).status_code == 403
