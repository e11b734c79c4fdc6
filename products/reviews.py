"""Write and read reviews. Receivers of ``post_save`` notify others."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Avg, Count, QuerySet

from products.models import Product, Review


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingSummary:
    """The number of reviews of a product, and their average rating."""

    count: int
    average: float | None


@transaction.atomic
def review_product(*, product: Product, author: User, rating: int, text: str) -> bool:
    """Save a review; return False if it replaced the author's earlier one."""
    _, created = Review.objects.update_or_create(
        product=product, author=author, defaults={"rating": rating, "text": text}
    )
    return created


def reviews_of(product: Product) -> QuerySet[Review]:
    """Return the reviews of a product with their authors, newest first."""
    return product.reviews.select_related("author__profile")


def rating_of(product: Product) -> RatingSummary:
    """Return the rating of a product."""
    found = product.reviews.aggregate(count=Count("pk"), average=Avg("rating"))
    return RatingSummary(**found)
