"""Check acknowledgements: everything that the shop confirmed was committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from django.contrib.auth.models import User
from django.db.models import QuerySet

from chaos.scenarios.client import Acknowledged
from chaos.scenarios.invariants.emails import NOTIFICATION, sent_with
from customers.models import Subscriber
from orders.models import Order
from products.models import Review, StockMovement


def uncommitted(acknowledged: Iterable[Acknowledged]) -> Iterator[Acknowledged]:
    """Yield each operation that the shop acknowledged and did not commit."""
    arrivals = StockMovement.objects.filter(kind=StockMovement.Kind.ARRIVED)
    left = Subscriber.objects.filter(active=False)
    committed = {
        "account": User.objects.values_list("username", flat=True),
        "confirmed": _numbers(Order.objects.exclude(confirmed_at=None)),
        "cancelled": _numbers(Order.objects.filter(status=Order.Status.CANCELLED)),
        "review": Review.objects.values_list("text", flat=True),
        "subscribed": Subscriber.objects.values_list("email", flat=True),
        "left": left.values_list("email", flat=True),
        "notified": sent_with("username", NOTIFICATION),
        "arrived": arrivals.values_list("product__slug", flat=True),
    }
    found = Counter(
        Acknowledged(operation, item)
        for operation, items in committed.items()
        for item in items
    )
    yield from (Counter(acknowledged) - found).elements()


def _numbers(orders: QuerySet[Order]) -> list[str]:
    return [str(pk) for pk in orders.values_list("pk", flat=True)]
