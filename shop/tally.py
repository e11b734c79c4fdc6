"""The books of the machine page: what was asked for, beside what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from notifications.models import Notification
from orders.models import Order
from products.models import StockMovement
from shop.mischief import EMAIL, mail_is_broken
from signal_tasks import health

STATES = ("pending", "running", "succeeded", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The orders of the machine, and what must be there once for each of them."""

    orders: int
    movements: int
    mails: int
    health: dict[str, Any]
    mail_is_broken: bool

    @property
    def rows(self) -> list[tuple[str, int]]:
        """What must be equal in the end."""
        return [
            ("orders confirmed", self.orders),
            ("stock movements", self.movements),
            ("confirmation mails", self.mails),
        ]

    @property
    def deliveries(self) -> list[tuple[str, int]]:
        """How many deliveries there are in each state, of all that the shop sent."""
        return [(state, self.health[state]) for state in STATES]

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing, and nothing was done twice."""
        return self.orders == self.movements == self.mails

    @property
    def verdict(self) -> str:
        """How the books stand, in a sentence."""
        if not self.orders:
            return "Nothing ordered yet."
        if not self.balanced:
            missing = 2 * self.orders - self.movements - self.mails
            return f"Not there yet: {missing} still to be done."
        return f"The books balance: {' = '.join(str(n) for _, n in self.rows)}."


def count() -> Tally:
    """Count now."""
    orders = Order.objects.filter(customer_email=EMAIL, confirmed_at__isnull=False)
    wanted = orders.exclude(status=Order.Status.CANCELLED).order_by()
    movements = StockMovement.objects.filter(
        kind=StockMovement.Kind.TAKEN, order_reference__in=wanted.values("reference")
    )
    mails = Notification.objects.filter(
        kind=Notification.Kind.ORDER_CONFIRMATION, order__in=wanted
    )
    return Tally(
        orders=wanted.count(),
        movements=movements.count(),
        mails=mails.count(),
        health=health(),
        mail_is_broken=mail_is_broken(),
    )
