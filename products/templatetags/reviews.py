"""``{% reviews product %}``: the reviews of a product, on the product's page."""

from __future__ import annotations

from django import template
from django.template.context import RequestContext

from products.forms import ReviewForm
from products.models import Product
from products.reviews import rating_of, reviews_of

register = template.Library()
MAX_SHOWN = 5


@register.inclusion_tag("products/_product_reviews.html", takes_context=True)
def reviews(context: RequestContext, product: Product) -> dict[str, object]:
    """Return the newest reviews, the rating, and a form for a signed-in user."""
    return {
        "product": product,
        "rating": rating_of(product),
        "reviews": reviews_of(product)[:MAX_SHOWN],
        "form": ReviewForm.of(context["request"].user, product),
        "csrf_token": context.get("csrf_token"),
    }
