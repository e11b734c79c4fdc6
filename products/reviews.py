"""What can be done with reviews. Who hears of them hangs off ``post_save``."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Avg, Count, QuerySet

from products.models import Product, Review


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What all reviews of a product come to."""

    count: int
    average: float | None


@transaction.atomic
def review_product(*, product: Product, author: User, rating: int, text: str) -> bool:
    """Write down what somebody says; False if it took the place of what they said."""
    _, created = Review.objects.update_or_create(
        product=product, author=author, defaults={"rating": rating, "text": text}
    )
    return created


def reviews_of(product: Product) -> QuerySet[Review]:
    """The reviews of a product, the newest first, with who wrote them."""
    return product.reviews.select_related("author__profile")


def verdict_on(product: Product) -> Verdict:
    """How good people find a product."""
    found = product.reviews.aggregate(count=Count("pk"), average=Avg("rating"))
    return Verdict(**found)
