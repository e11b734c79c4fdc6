"""What can be done with stock."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.db import transaction

from products.models import Product, StockMovement


@transaction.atomic
def take_stock(
    *, key: UUID, order_reference: UUID, wanted: Mapping[int, int]
) -> dict[int, int]:
    """Take the wanted quantity of each product; return what was missing, by product.

    Once per ``key``: a second call takes nothing and gives the same answer. Rows are
    locked in the order of their keys, so that two orders of the same products wait
    for each other instead of deadlocking.
    """
    shelf = Product.objects.select_for_update().filter(pk__in=wanted).order_by("pk")
    products = list(shelf)
    known = dict(
        StockMovement.objects.filter(key=key).values_list("product_id", "missing")
    )
    for product in products:
        if product.pk not in known:
            taken = product.take(wanted[product.pk])
            known[product.pk] = wanted[product.pk] - taken
            StockMovement.objects.create(
                key=key,
                product=product,
                order_reference=order_reference,
                quantity=taken,
                missing=known[product.pk],
            )
    return {pk: missing for pk, missing in known.items() if missing}
