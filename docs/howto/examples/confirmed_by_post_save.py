"""The tutorial's ``take_stock`` once more, connected to ``post_save``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import F
from django.db.models.signals import post_save

from orders.models import Order, Product
from signal_tasks import Reject, async_receiver


def is_confirmation(
    sender: type[Order],
    instance: Order,
    update_fields: Collection[str] | None = None,
    **kwargs: Any,
) -> bool:
    return instance.confirmed and "confirmed" in (update_fields or ())


@async_receiver(post_save, sender=Order, when=is_confirmation)
def take_stock(sender: type[Order], instance: Order, **kwargs: Any) -> None:
    product = Product.objects.filter(pk=instance.product_id)
    enough = product.filter(stock__gte=instance.quantity)
    if not enough.update(stock=F("stock") - instance.quantity):
        raise Reject(f"too few in stock for {instance}")
