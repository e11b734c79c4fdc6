"""Give every page what its frame needs beside the user."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest

from shop.access import is_demo
from shop.basket import Basket


def frame(request: HttpRequest) -> Mapping[str, object]:
    """Return the pieces in the basket, without a query, and True for a demo."""
    session = getattr(request, "session", None)  # a refused request may have none
    pieces = 0 if session is None else Basket(session).pieces
    return {"basket_pieces": pieces, "is_demo": is_demo()}
