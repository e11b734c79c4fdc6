"""Move stock.

Each function is one transaction. It locks its products in the order of their primary
keys, so that two transactions wait for each other instead of deadlocking. It reads the
ledger under that lock, so that a second call does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID, uuid4

from django.db import transaction

from products.models import Product, StockMovement
from products.signals import stock_arrived

Kind = StockMovement.Kind


@transaction.atomic
def take_stock(
    *, key: UUID, order_reference: UUID, wanted: Mapping[int, int]
) -> dict[int, int]:
    """Take the wanted quantity of each product; return what is missing, by product id.

    A second call for the same order takes nothing and returns what is missing now.
    """
    products = _locked(wanted)
    known = StockMovement.objects.balance(order_reference)
    for product in products:
        if product.pk not in known:
            taken = min(product.available, wanted[product.pk])
            known[product.pk] = taken, wanted[product.pk] - taken
            product.move(
                StockMovement(
                    key=key,
                    kind=Kind.TAKEN,
                    order_reference=order_reference,
                    quantity=taken,
                    missing=wanted[product.pk] - taken,
                )
            )
    return {pk: missing for pk, (_, missing) in known.items() if missing}


@transaction.atomic
def give_back_stock(*, key: UUID, order_reference: UUID) -> None:
    """Return all stock of an order, and remove it from those who wait.

    Another order may wait for this stock, so ``stock_arrived`` is sent.
    """
    products = _locked(StockMovement.objects.balance(order_reference))
    balance = StockMovement.objects.balance(order_reference)
    for product in products:
        taken, missing = balance[product.pk]
        if taken or missing:
            product.move(
                StockMovement(
                    key=key,
                    kind=Kind.RETURNED,
                    order_reference=order_reference,
                    quantity=-taken,
                    missing=-missing,
                )
            )
            stock_arrived.send(sender=product, product=product)


@transaction.atomic
def serve_stock(
    *, key: UUID, product: Product, order_reference: UUID, quantity: int
) -> None:
    """Take stock for a back-order. The caller must have locked the product."""
    product.move(
        StockMovement(
            key=key,
            kind=Kind.SERVED,
            order_reference=order_reference,
            quantity=quantity,
            missing=-quantity,
        )
    )


@transaction.atomic
def receive_stock(*, product: Product, quantity: int) -> Product:
    """Add stock that has arrived, and send ``stock_arrived``."""
    if quantity < 1:
        raise ValueError(f"{quantity} pieces cannot arrive.")
    received = lock_product(product.pk)
    received.move(StockMovement(key=uuid4(), kind=Kind.ARRIVED, quantity=-quantity))
    stock_arrived.send(sender=received, product=received)
    return received


def lock_product(pk: int) -> Product:
    """Lock a product until the end of the transaction, and return it."""
    return Product.objects.select_for_update().get(pk=pk)


def _locked(pks: Iterable[int]) -> list[Product]:
    rows = Product.objects.select_for_update().filter(pk__in=list(pks))
    return list(rows.order_by("pk"))
