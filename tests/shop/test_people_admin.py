"""People, reviews and subscribers in the admin."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from customers.models import CustomerProfile, Subscriber
from customers.newsletter import subscribe
from products.models import Review
from products.reviews import review_product
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _something_of_each(mug, admin_user):
    subscribe(email="ada@example.com")
    review_product(product=mug, author=admin_user, rating=4, text="Good.")
    run_pending()


@pytest.mark.parametrize("model", [CustomerProfile, Subscriber, Review])
def test_each_model_has_a_list_and_a_page(admin_client, model):
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    assert admin_client.get(reverse(f"{name}_changelist")).status_code == 200
    page = reverse(f"{name}_change", args=[model.objects.get().pk])
    assert admin_client.get(page).status_code == 200


def test_a_subscription_is_not_ticked_away_without_its_signal(admin_client):
    subscriber = Subscriber.objects.get()
    page = reverse("admin:customers_subscriber_change", args=[subscriber.pk])
    admin_client.post(page, {"email": subscriber.email, "active": ""})
    subscriber.refresh_from_db()
    assert subscriber.active


def test_a_review_is_taken_away_but_not_rewritten(admin_client):
    review = Review.objects.get()
    change = reverse("admin:products_review_change", args=[review.pk])
    assert admin_client.post(change, {"text": "Bad."}).status_code == 403
    delete = reverse("admin:products_review_delete", args=[review.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302
    assert not Review.objects.exists()


def test_a_user_made_in_the_admin_has_a_profile_too(admin_client):
    password = "correct horse battery"
    new = {"username": "eve", "password1": password, "password2": password}
    admin_client.post(
        reverse("admin:auth_user_add"), {**new, "usable_password": "true"}
    )
    run_pending()
    assert CustomerProfile.objects.filter(
        user=User.objects.get(username="eve")
    ).exists()
