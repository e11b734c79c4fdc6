"""``{% picture product %}``: a drawing of a product, in the colours of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from products.models import Product

FOLDER = Path(__file__).resolve().parents[1] / "templates" / "shop" / "pictures"
DRAWN = frozenset(file.stem for file in FOLDER.glob("*.svg"))

register = template.Library()


@register.simple_tag
def picture(product: Product) -> SafeString:
    """Return the drawing of a sample product; of another, its first letter.

    It stands in the page itself, where the style sheet gives it its colours.
    """
    name = f"pictures/{product.slug}.svg" if product.slug in DRAWN else "_tile.html"
    context: dict[str, Any] = {"product": product}
    return render_to_string(f"shop/{name}", context)
