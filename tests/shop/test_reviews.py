"""What people say of products, and which vendors hear of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db import IntegrityError, transaction
from django.utils import timezone

from products.models import Product, Review
from products.reviews import review_product
from signal_tasks.models import Delivery
from signal_tasks.registry.registry import registry
from signal_tasks.testing import run_pending
from tests.shop.outgoing import written

pytestmark = pytest.mark.django_db
GOOD = {"rating": "4", "text": "It pours well."}


def user(name: str, email: str | None = None) -> User:
    email = f"{name}@example.com" if email is None else email
    made = User.objects.create_user(name, email, first_name=name.title())
    run_pending()  # which makes the profile
    return made


@pytest.fixture
def ada(db: None) -> User:
    return user("ada")


@pytest.fixture
def vendor(db: None) -> User:
    return user("vera")


@pytest.fixture
def pot(add_product: Callable[..., Product], vendor: User) -> Product:
    product = add_product("Teapot")
    product.vendor = vendor
    product.save()
    return product


def test_a_vendor_hears_of_a_new_review(client, pot, ada):
    client.force_login(ada)
    response = client.post("/products/teapot/reviews/", GOOD, follow=True)
    assert response.redirect_chain == [("/products/teapot/", 302)]
    assert "It pours well." in response.text
    run_pending()
    [message] = mail.outbox
    assert message.to == ["vera@example.com"]
    assert message.subject == "A review of Teapot"
    assert "a customer has reviewed your Teapot: 4 of 5." in message.body
    assert "http://localhost:8000/products/teapot/" in message.body


@pytest.fixture
def slow_digest() -> Iterator[None]:
    """Let the vendor wait for a minute, as tests otherwise do not."""
    receiver = registry.receiver("notifications.receivers.send_review_to_vendor")
    assert receiver is not None
    coalesce = receiver.options.coalesce
    usual = {name: getattr(coalesce, name) for name in ("within", "max_wait")}
    for name in usual:
        object.__setattr__(coalesce, name, 60.0)
    yield
    for name, seconds in usual.items():
        object.__setattr__(coalesce, name, seconds)


def test_reviews_that_come_together_are_told_in_one_email(pot, ada, slow_digest):
    bob = user("bob")
    review_product(product=pot, author=ada, rating=4, text="It pours well.")
    review_product(product=pot, author=bob, rating=2, text="It drips.")
    assert run_pending() == []  # there may be more
    Delivery.objects.update(available_at=timezone.now())
    run_pending()
    [message] = mail.outbox
    assert "a customer has reviewed your Teapot: 2 of 5." in message.body
    assert "2 reviews now" in message.body


def test_what_a_stranger_writes_goes_into_no_email_to_the_vendor(client, pot, ada):
    User.objects.filter(pk=ada.pk).update(first_name="Win", last_name="Money")
    bait = "Claim it at http://evil.example/"
    review_product(product=pot, author=ada, rating=4, text=bait)
    run_pending()
    [message] = mail.outbox
    text = written(message)
    assert "evil" not in text
    assert "Money" not in text


def test_a_review_that_is_changed_is_no_news(client, pot, ada):
    client.force_login(ada)
    client.post("/products/teapot/reviews/", GOOD)
    run_pending()
    again = {"rating": "1", "text": "It broke."}
    response = client.post("/products/teapot/reviews/", again, follow=True)
    assert "Your review is changed." in response.text
    assert Review.objects.get().rating == 1
    assert run_pending() == []
    assert len(mail.outbox) == 1


def test_a_vendor_who_reviews_their_own_product_is_not_told(pot, vendor):
    review_product(product=pot, author=vendor, rating=5, text="Mine, and good.")
    assert run_pending() == []


def test_a_product_without_a_vendor_has_nobody_to_tell(mug, ada):
    review_product(product=mug, author=ada, rating=5, text="Good.")
    assert run_pending() == []


def test_a_vendor_without_an_address_gets_no_mail(mug, ada):
    mug.vendor = user("mute", email="")
    mug.save()
    review_product(product=mug, author=ada, rating=5, text="Good.")
    assert {delivery.state for delivery in run_pending()} == {"succeeded"}
    assert mail.outbox == []


def test_a_review_that_was_taken_back_is_not_told(pot, ada):
    review_product(product=pot, author=ada, rating=5, text="Good.")
    Review.objects.all().delete()
    [delivery] = run_pending()
    assert delivery.state == "discarded"
    assert mail.outbox == []


def test_a_rolled_back_review_sends_nothing(pot, ada):
    with transaction.atomic():
        review_product(product=pot, author=ada, rating=5, text="Good.")
        transaction.set_rollback(True)
    assert run_pending() == []


def test_a_delivery_that_comes_twice_tells_once(pot, ada):
    review_product(product=pot, author=ada, rating=5, text="Good.")
    run_pending(twice=True)
    assert len(mail.outbox) == 1


def test_the_database_itself_refuses_a_second_review(pot, ada):
    review_product(product=pot, author=ada, rating=5, text="Good.")
    with pytest.raises(IntegrityError), transaction.atomic():
        Review.objects.create(product=pot, author=ada, rating=1, text="Bad.")


def test_the_database_itself_refuses_six_stars(pot, ada):
    with pytest.raises(IntegrityError), transaction.atomic():
        Review.objects.create(product=pot, author=ada, rating=6, text="Great!")


@pytest.mark.parametrize(
    ("field", "wrong"), [("rating", "6"), ("rating", ""), ("text", " ")]
)
def test_a_wrong_review_says_so_at_the_field(client, pot, ada, field, wrong):
    client.force_login(ada)
    response = client.post("/products/teapot/reviews/", {**GOOD, field: wrong})
    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert not Review.objects.exists()


def test_whoever_is_not_signed_in_is_asked_to(client, pot):
    response = client.post("/products/teapot/reviews/", GOOD)
    assert response.url == "/login/?next=/products/teapot/reviews/"
    assert "Sign in" in client.get("/products/teapot/").text
    assert not Review.objects.exists()


def test_the_product_page_shows_the_newest_and_what_they_come_to(client, pot):
    for number in range(7):
        author = user(f"u{number}")
        review_product(
            product=pot, author=author, rating=1 + number % 5, text=f"No. {number}"
        )
    page = client.get("/products/teapot/").text
    assert "2.6 of 5 from 7 reviews" in page
    assert "No. 6" in page
    assert "No. 1" not in page
    assert "U6" in page
    assert "No. 1" in client.get("/products/teapot/reviews/").text


def test_reviews_come_at_a_constant_number_of_queries(
    client, pot, django_assert_max_num_queries
):
    for number in range(5):
        review_product(product=pot, author=user(f"u{number}"), rating=3, text="So.")
    with django_assert_max_num_queries(4):
        client.get("/products/teapot/")


def test_markup_in_a_review_is_shown_as_text(client, pot, ada):
    review_product(product=pot, author=ada, rating=1, text="<script>alert(1)</script>")
    assert "<script>alert" not in client.get("/products/teapot/").text
