"""Two at once, about people: one account, one letter, and the newest name."""

from __future__ import annotations

from functools import partial

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db import DatabaseError, connection, transaction

from customers.models import CustomerProfile, Subscriber
from customers.newsletter import subscribe, unsubscribe
from customers.services import (
    Taken,
    keep_profile,
    register,
    remember_customer,
    rename,
)
from notifications.models import Notification
from products.models import Review
from products.reviews import review_product
from signal_tasks.testing import run_pending
from tests.shop.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def try_to_register(number: int, **same: str) -> str:
    """Register as person of that number, but for what all have in common."""
    one = {"username": f"ada{number}", "email": f"ada{number}@example.com"}
    names = {"first_name": "Ada", "last_name": "Muster", "password": "correct horse"}
    try:
        register(**{**names, **one, **same})
    except Taken as taken:
        return taken.field
    return "registered"


@pytest.mark.parametrize("field", ["username", "email"])
def test_of_four_who_register_as_the_same_at_once_one_does(field):
    remember_customer(name="Ada", email="same@example.com")  # who has ordered before
    same = {field: "same@example.com"}
    calls = [partial(try_to_register, number, **same) for number in range(4)]
    assert sorted(at_once(*calls)) == sorted(["registered", *[field] * 3])
    assert User.objects.count() == 1
    run_pending()
    assert len(mail.outbox) == CustomerProfile.objects.count() == 1


@pytest.mark.parametrize("again", range(3))
def test_a_profile_ends_with_the_newest_name_however_deliveries_meet(again):
    assert try_to_register(1) == "registered"
    user = User.objects.get()

    def rename_often() -> None:
        for number in range(10):
            rename(user=user, first_name="Ada", last_name=f"No. {number}")

    def deliver() -> None:
        for _ in range(5):
            run_pending()

    at_once(rename_often, deliver, deliver)
    run_pending()
    assert str(CustomerProfile.objects.get()) == "Ada No. 9"


def is_held(user: User) -> bool:
    try:
        with transaction.atomic():
            User.objects.select_for_update(nowait=True).get(pk=user.pk)
    except DatabaseError:
        return True
    return False


def test_nobody_is_renamed_while_their_names_are_copied():
    if not connection.features.has_select_for_update_nowait:
        pytest.skip("One writer at a time anyway.")
    assert try_to_register(1) == "registered"
    user = User.objects.get()
    with transaction.atomic():
        keep_profile(user=user)
        assert at_once(partial(is_held, user)) == [True]
    assert at_once(partial(is_held, user)) == [False]


def test_of_four_who_subscribe_one_address_at_once_one_sends_a_letter():
    calls = [partial(subscribe, email="ada@example.com")] * 4
    assert sorted(at_once(*calls)) == [False, False, False, True]
    run_pending()
    assert Subscriber.objects.count() == Notification.objects.count() == 1
    assert sorted(at_once(*[partial(unsubscribe, email="ada@example.com")] * 2)) == [
        False,
        True,
    ]


def test_a_review_that_is_sent_twice_at_once_is_one_and_told_once(mug):
    ada, mug.vendor = (
        User.objects.create_user(name, f"{name}@example.com")
        for name in ("ada", "vendor")
    )
    mug.save()
    review = partial(review_product, product=mug, author=ada, rating=4, text="Good.")
    assert sorted(at_once(review, review)) == [False, True]
    run_pending()
    assert Review.objects.count() == len(mail.outbox) == 1
