"""The shop writes to nobody who did not ask: an address is proved before it is used."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth.models import Permission, User
from django.core import mail
from django.test import Client

from customers.models import AddressProof
from customers.proofs import MAX_AGE, Claim, Purpose, accept, is_proved
from notifications.models import Notification
from orders.models import Order
from orders.services import AddressNotProved, cancel_order, confirm_order, place_order
from products.models import Product
from signal_tasks.testing import run_pending
from tests.shop.outgoing import written

pytestmark = pytest.mark.django_db
VICTIM = "victim@example.org"
BAIT = "You won, claim it at http://evil.example/x"


def form_for(
    product: Product, email: str = VICTIM, name: str = BAIT
) -> dict[str, object]:
    return {"product": product.slug, "quantity": 1, "name": name, "email": email}


# Orders


def test_a_stranger_can_have_only_links_sent_and_only_a_few(mug):
    stranger = Client()
    for _ in range(15):
        page = stranger.post("/orders/", form_for(mug))["Location"]
        stranger.post(f"{page}confirm/")
        stranger.post(f"{page}proof/")
        stranger.post(f"{page}cancel/")
        run_pending()
    assert {message.subject for message in mail.outbox} == {
        "Is this your email address?"
    }
    assert len(mail.outbox) == 3
    texts = list(map(written, mail.outbox))
    assert not any("evil" in text or "You won" in text for text in texts)


def test_an_order_is_confirmed_when_its_address_is_proved(client, mug, link_to):
    page = client.post("/orders/", form_for(mug, "ada@example.com", "Ada"), follow=True)
    assert "A link is on its way to ada@example.com" in page.text
    assert "Send the link again" in page.text
    assert "Confirm order" not in page.text
    order = Order.objects.get()
    refused = client.post(f"/orders/{order.pk}/confirm/", follow=True)
    assert "Please open the link" in refused.text
    link = link_to("ada@example.com")
    assert "Is this your email address?" in client.get(link).text
    assert AddressProof.objects.count() == 0  # programs follow links
    client.post(link)
    assert "Confirm order" in client.get(f"/orders/{order.pk}/").text
    client.post(f"/orders/{order.pk}/confirm/")
    order.refresh_from_db()
    assert order.status == Order.Status.CONFIRMED


def test_a_proved_address_is_not_asked_for_again_in_the_same_visit(client, mug, prove):
    prove("ada@example.com")
    page = client.post(
        "/orders/", form_for(mug, " Ada@Example.com", "Ada"), follow=True
    )
    assert "Please confirm it." in page.text
    assert run_pending() == []


def test_the_link_may_be_opened_on_another_device(client, mug, link_to):
    page = client.post("/orders/", form_for(mug))["Location"]
    Client().post(link_to(VICTIM))
    assert "Confirm order" in client.get(page).text


def test_what_the_owner_has_proved_opens_nothing_to_a_stranger(client, mug, prove):
    prove(VICTIM)
    stranger = Client()
    page = stranger.post("/orders/", form_for(mug))["Location"]
    assert "Confirm order" not in stranger.get(page).text
    stranger.post(f"{page}confirm/")
    assert Order.objects.get().status == Order.Status.PLACED


def test_a_user_need_not_prove_the_address_of_their_account(client, mug):
    user = User.objects.create_user("ada", "ada@example.com")
    accept(Claim(email="ada@example.com", user_id=user.pk))
    client.force_login(user)
    page = client.post("/orders/", form_for(mug, "ada@example.com", "Ada"))["Location"]
    assert "Confirm order" in client.get(page).text


def test_no_permission_confirms_an_order_whose_address_is_not_proved(mug):
    order = place_order(name=BAIT, email=VICTIM, lines=[(mug, 1)])
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(
        Permission.objects.filter(codename__in=["view_order", "change_order"])
    )
    browser = Client()
    browser.force_login(clerk)
    run_pending()
    browser.post(f"/orders/{order.pk}/confirm/")
    assert run_pending() == []
    with pytest.raises(AddressNotProved):
        confirm_order(order=order)


def test_cancelling_an_order_that_nobody_has_proved_writes_to_nobody(mug):
    cancel_order(order=place_order(name=BAIT, email=VICTIM, lines=[(mug, 1)]))
    run_pending()
    assert mail.outbox == []


# Links


@pytest.mark.parametrize("purpose", [Purpose.NEWSLETTER, Purpose.ACCOUNT])
def test_a_link_serves_its_purpose_and_no_other(client, purpose):
    token = Claim(email=VICTIM, visitor=None).token(purpose)
    assert client.post(f"/proof/{token}/").status_code == 404
    token = Claim(email=VICTIM).token(Purpose.ADDRESS)
    for page in ("/newsletter/join", "/register"):
        assert client.post(f"{page}/{token}/").status_code == 404


@pytest.mark.parametrize("token", ["1", "a:b:c", "é", "x" * 3000])
@pytest.mark.parametrize("page", ["/proof", "/register", "/newsletter/join"])
def test_a_forged_link_is_not_found(client, page, token):
    for method in (client.get, client.post):
        assert method(f"{page}/{token}/").status_code == 404


def test_an_old_link_is_not_found(client, monkeypatch):
    token = Claim(email=VICTIM, visitor=None).token(Purpose.NEWSLETTER)
    later = time.time() + MAX_AGE + 1
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    assert client.get(f"/newsletter/join/{token}/").status_code == 404


def test_the_record_of_an_email_does_not_hold_its_link(client, mug, link_to):
    client.post("/orders/", form_for(mug))
    token = link_to(VICTIM).split("/")[2]
    record = Notification.objects.get()
    assert token not in record.text + record.html
    assert "a link for the recipient alone" in record.text
    assert any(token in written(message) for message in mail.outbox)


def test_a_proof_goes_with_its_account():
    user = User.objects.create_user("ada")
    accept(Claim(email=VICTIM, user_id=user.pk))
    accept(Claim(email=VICTIM, user_id=user.pk))
    assert AddressProof.objects.count() == 1
    user.delete()
    assert not is_proved(email=VICTIM, user_id=1, visitor=None)
    assert not AddressProof.objects.exists()
