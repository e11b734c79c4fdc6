"""What can be done with stock.

Each is one transaction that locks the products it moves, in the order of their keys,
so that two of them wait for each other instead of deadlocking. What each one does is
read from the ledger under that lock, so that doing it again does nothing.
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
    """Take the wanted quantity of each product; return what is missing, by product.

    Once per order: a second call takes nothing, and says what is missing by now.
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
    """Put back all that an order holds, and let it wait for nothing any more.

    What comes back, or is free again, may be what another order waits for: it is
    announced as if it had arrived.
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
    """Take what a back-order waited for. The caller has locked the product."""
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
    """Put what has arrived on the shelf, and announce it to those who wait."""
    if quantity < 1:
        raise ValueError(f"{quantity} pieces cannot arrive.")
    received = lock_product(product.pk)
    received.move(StockMovement(key=uuid4(), kind=Kind.ARRIVED, quantity=-quantity))
    stock_arrived.send(sender=received, product=received)
    return received


def lock_product(pk: int) -> Product:
    """Return a product as it is now, and as it stays until the transaction ends."""
    return Product.objects.select_for_update().get(pk=pk)


def _locked(pks: Iterable[int]) -> list[Product]:
    shelf = Product.objects.select_for_update().filter(pk__in=list(pks))
    return list(shelf.order_by("pk"))
