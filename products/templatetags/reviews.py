"""``{% reviews product %}``: what people say of a product, on the product's page."""

from __future__ import annotations

from django import template
from django.template.context import RequestContext

from products.forms import ReviewForm
from products.models import Product
from products.reviews import reviews_of, verdict_on

register = template.Library()
SHOWN = 5


@register.inclusion_tag("products/_product_reviews.html", takes_context=True)
def reviews(context: RequestContext, product: Product) -> dict[str, object]:
    """The newest reviews, what they come to, and a form for whoever is signed in."""
    return {
        "product": product,
        "verdict": verdict_on(product),
        "reviews": reviews_of(product)[:SHOWN],
        "form": ReviewForm.of(context["request"].user, product),
        "csrf_token": context.get("csrf_token"),
    }
