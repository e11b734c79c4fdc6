"""Read what is true now: the orders of the tour, their effects, and what failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from notifications.models import Notification
from orders.models import Order
from products.models import StockMovement
from shop.incident import faults
from signal_tasks import HealthReport, health, operations

CONFIRMATION = "notifications.receivers.send_order_confirmation"
STATES = ("pending", "running", "succeeded", "dead")
MAX_COUNTED = 10_000
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All since the beginning of the tour; ``health`` is that of the whole shop."""

    orders: int
    movements: int
    mails: int
    dead: int
    discarded: int
    group: operations.FailureGroup | None
    operation: operations.Operation | None
    killed_at: datetime | None
    mail_is_broken: bool
    health: HealthReport

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
    def failures(self) -> int:
        """Return how many attempts at confirmations have failed by this cause, ever."""
        return self.group.failures if self.group else 0

    @property
    def waiting(self) -> int:
        """Return how many confirmations of the whole shop wait or are being sent."""
        counts = self.health["receivers"][CONFIRMATION]
        return counts["pending"] + counts["running"]

    @property
    def equal(self) -> bool:
        """Return True if no effect is missing and none happened twice."""
        return self.orders == self.movements == self.mails

    @property
    def summary(self) -> str:
        """Return a sentence about the three numbers."""
        if not self.orders:
            return "Nothing ordered yet."
        if self.equal:
            return f"The totals are equal: {' = '.join(str(n) for _, n in self.rows)}."
        missing = 2 * self.orders - self.movements - self.mails
        told = f"Missing: {missing}; {self.dead} emails are dead"
        if self.discarded:
            return f"{told}, {self.discarded} were discarded."
        return (
            f"{told}." if self.dead else f"Not there yet: {missing} still to be done."
        )


def read() -> Facts:
    """Read all of it."""
    began = faults.began_at() or LONG_AGO
    orders = Order.objects.filter(customer_email=faults.EMAIL, confirmed_at__gte=began)
    standing = orders.exclude(status=Order.Status.CANCELLED).order_by()
    movements = StockMovement.objects.filter(
        kind=StockMovement.Kind.TAKEN, order_reference__in=standing.values("reference")
    )
    mails = Notification.objects.filter(
        kind=Notification.Kind.ORDER_CONFIRMATION, order__in=standing
    )
    return Facts(
        orders=standing.count(),
        movements=movements.count(),
        mails=mails.count(),
        dead=_finished(began, "dead"),
        discarded=_finished(began, "discarded"),
        group=_group(began),
        operation=_operation(began),
        killed_at=_later(faults.killed_at(), began),
        mail_is_broken=faults.mail_is_broken(),
        health=health(),
    )


def _finished(began: datetime, state: str) -> int:
    chosen = operations.Selection(receiver=CONFIRMATION, state=state, since=began)
    return chosen.count(MAX_COUNTED)


def _group(began: datetime) -> operations.FailureGroup | None:
    """Return the failures of confirmations, those with the most dead letters."""
    groups = operations.failure_groups(receiver=CONFIRMATION)
    return next((each for each in groups if each.last_seen >= began), None)


def _operation(began: datetime) -> operations.Operation | None:
    """Return the last replay or discard."""
    recent = operations.recent(5)
    return next((each for each in recent if _later(each.created_at, began)), None)


def _later(time: datetime | None, began: datetime) -> datetime | None:
    return time if time and time >= began else None
