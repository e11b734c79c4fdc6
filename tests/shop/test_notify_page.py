"""A signal sent robustly: one receiver fails, the durable one does not care."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client

from customers.models import AddressProof
from customers.proofs import Claim, accept
from notifications.signals import notification
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db
OWN = {"email": "ada@example.com", "username": "Ada"}
OTHER = {"email": "bob@example.com", "username": "Bob"}


@pytest.fixture
def ada(client: Client) -> User:
    user = User.objects.create_user("ada", "ada@example.com")
    accept(Claim(email="ada@example.com", user_id=user.pk))
    run_pending()
    client.force_login(user)
    return user


def test_a_receiver_that_fails_is_an_answer_and_the_mail_goes_out(client, ada):
    response = client.post("/notify/", OWN)
    assert response.status_code == 200
    answers = dict(response.context["answers"])
    failure = "RuntimeError: This receiver fails on purpose."
    assert answers["fail_on_purpose"] == failure
    assert answers["send_notification"].endswith("pending")
    assert failure in response.text
    run_pending()
    [message] = mail.outbox
    assert message.to == ["ada@example.com"]
    assert "Hello Ada," in message.body


def test_a_double_click_sends_one_mail(client, ada):
    once = client.get("/notify/").context["form"]["once"].value()
    answers = [
        client.post("/notify/", {**OWN, "once": once}).context["answers"]
        for _ in range(2)
    ]
    assert dict(answers[1]) == {
        "send_notification": dict(answers[0])["send_notification"]
    }
    run_pending()
    assert len(mail.outbox) == 1


def test_a_page_that_has_sent_can_send_again(client, ada):
    page = client.get("/notify/")
    for _ in range(2):
        once = page.context["form"]["once"].value()
        page = client.post("/notify/", {**OWN, "once": once})
    run_pending()
    assert len(mail.outbox) == 2


def test_an_address_that_is_not_proved_gets_a_link_first(client, ada, link_to):
    AddressProof.objects.all().delete()
    response = client.post("/notify/", OWN, follow=True)
    assert "A link is on its way to ada@example.com" in response.text
    client.post(link_to("ada@example.com"))
    assert client.post("/notify/", OWN).context["answers"]


def test_nobody_sends_themselves_more_than_an_inbox_can_bear(client, ada):
    answers = [client.post("/notify/", OWN).status_code for _ in range(6)]
    assert answers == [200] * 3 + [429] * 3
    run_pending()
    assert len(mail.outbox) == 3


def test_with_send_the_failure_is_the_senders_and_nothing_is_pending(db):
    with pytest.raises(RuntimeError, match="on purpose"):
        notification.send(sender=User, **OWN)
    assert run_pending() == []


def test_a_customer_writes_to_nobody_else(client, ada):
    response = client.post("/notify/", OTHER)
    assert response.status_code == 422
    assert "Please use your own address." in response.text
    assert run_pending() == []


def test_a_user_without_an_address_writes_to_nobody(client, ada):
    User.objects.update(email="")
    assert client.post("/notify/", {**OWN, "email": ""}).status_code == 422
    assert run_pending() == []


def test_whoever_is_not_signed_in_is_asked_to(client, db):
    assert client.post("/notify/", OWN).url == "/login/?next=/notify/"
    assert run_pending() == []


def test_the_form_knows_who_asks(client, ada):
    page = client.get("/notify/").text
    assert 'value="ada@example.com"' in page
    assert 'value="ada"' in page
