"""Count the orders of the fault demo, and compare them with their effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notifications.models import Notification
from orders.models import Order
from products.models import StockMovement
from shop.fault_demo.faults import EMAIL, mail_is_broken
from signal_tasks import HealthReport, health

STATES = ("pending", "running", "succeeded", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Orders of the fault demo, and the effects that each must have had once."""

    orders: int
    movements: int
    mails: int
    health: HealthReport
    mail_is_broken: bool

    @property
    def rows(self) -> list[tuple[str, int]]:
        """Return the three numbers that must be equal in the end."""
        return [
            ("orders confirmed", self.orders),
            ("stock movements", self.movements),
            ("confirmation emails", self.mails),
        ]

    @property
    def deliveries(self) -> list[tuple[str, int]]:
        """Return the number of deliveries of the whole shop in each state."""
        counts: Mapping[str, Any] = self.health
        return [(state, counts[state]) for state in STATES]

    @property
    def equal(self) -> bool:
        """Return True if no effect is missing and none happened twice."""
        return self.orders == self.movements == self.mails

    @property
    def summary(self) -> str:
        """Return a sentence about the three numbers."""
        if not self.orders:
            return "Nothing ordered yet."
        if not self.equal:
            missing = 2 * self.orders - self.movements - self.mails
            return f"Not there yet: {missing} still to be done."
        return f"The totals are equal: {' = '.join(str(n) for _, n in self.rows)}."


def count() -> Totals:
    """Count now."""
    orders = Order.objects.filter(customer_email=EMAIL, confirmed_at__isnull=False)
    standing = orders.exclude(status=Order.Status.CANCELLED).order_by()
    movements = StockMovement.objects.filter(
        kind=StockMovement.Kind.TAKEN, order_reference__in=standing.values("reference")
    )
    mails = Notification.objects.filter(
        kind=Notification.Kind.ORDER_CONFIRMATION, order__in=standing
    )
    return Totals(
        orders=standing.count(),
        movements=movements.count(),
        mails=mails.count(),
        health=health(),
        mail_is_broken=mail_is_broken(),
    )
