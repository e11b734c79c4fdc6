"""Models: orders and their lines.

Only the ``mark_...`` methods change the status of an order. Each is one conditional
UPDATE; if another process was first, it changes nothing and returns False.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Self
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models
from django.urls import reverse
from django.utils import timezone

from customers.models import Customer
from customers.proofs import is_proved
from products.models import Product


class OrderQuerySet(models.QuerySet["Order"]):
    """Queries on orders."""

    def visible_to(self, user: User | AnonymousUser, visitor: UUID | None) -> Self:
        """Return the orders that somebody may see: their own, or all by permission."""
        if user.has_perm("orders.view_order"):
            return self.all()
        return self.owned_by(user, visitor)

    def changeable_by(self, user: User | AnonymousUser, visitor: UUID | None) -> Self:
        """Return the orders that somebody may confirm and cancel."""
        if user.has_perm("orders.change_order"):
            return self.all()
        return self.owned_by(user, visitor)

    def owned_by(self, user: User | AnonymousUser, visitor: UUID | None) -> Self:
        """Return the orders of the user, and those placed in the same browser session."""
        own = models.Q(pk__in=[])
        if visitor:
            own |= models.Q(visitor=visitor)
        if user.is_authenticated:
            own |= models.Q(user_id=user.pk)
        return self.filter(own)

    def waiting_for(self, product: Product) -> Self:
        """Return and lock the orders that wait for a product, oldest first.

        Every transaction that locks several orders does so in this order.
        """
        waiting = self.select_for_update().filter(
            status=Order.Status.BACK_ORDERED,
            lines__product=product,
            lines__back_ordered__gt=0,
        )
        return waiting.order_by("confirmed_at", "pk")


class Order(models.Model):
    """An order, with the name and address that were given with it."""

    class Status(models.TextChoices):
        """placed -> confirmed <-> back-ordered; each of these -> cancelled."""

        PLACED = "placed", "placed"
        CONFIRMED = "confirmed", "confirmed"
        BACK_ORDERED = "back-ordered", "back-ordered"
        CANCELLED = "cancelled", "cancelled"

    reference = models.UUIDField(default=uuid4)
    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, related_name="orders"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="orders",
    )
    visitor = models.UUIDField(null=True, db_index=True)
    customer_name = models.CharField(max_length=100)
    customer_email = models.EmailField()
    status = models.CharField(
        max_length=12, choices=Status.choices, default=Status.PLACED
    )
    created_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    proof_event_id = models.UUIDField(null=True)
    confirmation_event_id = models.UUIDField(null=True)
    back_order_event_id = models.UUIDField(null=True)
    served_event_id = models.UUIDField(null=True)
    cancellation_event_id = models.UUIDField(null=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["reference"], name="orders_reference_unique"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status="placed",
                    confirmed_at__isnull=True,
                    cancelled_at__isnull=True,
                )
                | models.Q(
                    status__in=["confirmed", "back-ordered"],
                    confirmed_at__isnull=False,
                    cancelled_at__isnull=True,
                )
                | models.Q(status="cancelled", cancelled_at__isnull=False),
                name="orders_status_agrees",
            ),
        )
        indexes = (models.Index(fields=["status", "confirmed_at"], name="orders_due"),)

    def __str__(self) -> str:
        return f"Order {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("order", args=[self.pk])

    @property
    def total(self) -> Decimal:
        """Return the price of the whole order."""
        return sum((line.total for line in self.lines.all()), Decimal(0))

    def quantities(self) -> dict[int, int]:
        """Return the ordered quantity of each product, by product id."""
        return dict(self.lines.values_list("product_id", "quantity"))

    @property
    def may_be_cancelled(self) -> bool:
        """Return True unless the order is cancelled."""
        return self.status != self.Status.CANCELLED

    def lock(self) -> bool:
        """Lock the order until the transaction ends; return False if it is cancelled."""
        locked = Order.objects.select_for_update().values_list("status", flat=True)
        self.status = locked.get(pk=self.pk)
        return self.may_be_cancelled

    def mark_confirmed(self) -> bool:
        """Confirm a placed order; return False if it is not placed any more."""
        now = timezone.now()
        return self._move({self.Status.PLACED}, self.Status.CONFIRMED, confirmed_at=now)

    def mark_back_ordered(self, missing: Mapping[int, int]) -> bool:
        """Mark what is missing of a confirmed order; return False if that was done."""
        if not self._move({self.Status.CONFIRMED}, self.Status.BACK_ORDERED):
            return False
        for product_id, quantity in missing.items():
            self.lines.filter(product_id=product_id).update(back_ordered=quantity)
        return True

    def mark_served(self, product: Product, quantity: int) -> bool:
        """Reduce what the order waits for; return True if it waits no more."""
        waiting = self.lines.filter(back_ordered__gt=0)
        waiting.filter(product=product).update(
            back_ordered=models.F("back_ordered") - quantity
        )
        if waiting.exists():
            return False
        return self._move({self.Status.BACK_ORDERED}, self.Status.CONFIRMED)

    def mark_cancelled(self) -> bool:
        """Cancel the order in any state; return False if it is cancelled already."""
        sources = set(self.Status) - {self.Status.CANCELLED}
        return self._move(sources, self.Status.CANCELLED, cancelled_at=timezone.now())

    def address_is_proved(self) -> bool:
        """Return True if whoever placed the order has proved its email address."""
        return is_proved(
            email=self.customer_email, user_id=self.user_id, visitor=self.visitor
        )

    def note_event(self, **event_id: UUID | None) -> None:
        """Store the id of an event, so that its deliveries can be shown."""
        self._write(Order.objects.filter(pk=self.pk), **event_id)

    def _move(self, sources: set[Status], target: Status, **changes: object) -> bool:
        movable = Order.objects.filter(pk=self.pk, status__in=sources)
        return self._write(movable, status=target, **changes)

    def _write(self, rows: models.QuerySet[Order], **changes: object) -> bool:
        if not rows.update(**changes):
            return False
        for name, value in changes.items():
            setattr(self, name, value)
        return True


class OrderLine(models.Model):
    """One product of an order, at the price when it was ordered."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=10, decimal_places=2)
    back_ordered = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["order", "product"], name="orders_line_product_once"
            ),
            models.CheckConstraint(
                condition=models.Q(quantity__gte=1), name="orders_line_not_empty"
            ),
            models.CheckConstraint(
                condition=models.Q(back_ordered__lte=models.F("quantity")),
                name="orders_line_back_ordered_within",
            ),
        )

    def __str__(self) -> str:
        return f"{self.quantity} of product {self.product_id}"

    @property
    def total(self) -> Decimal:
        """Return the price of this line."""
        return self.quantity * self.unit_price

    @property
    def served(self) -> int:
        """Return how many pieces do not wait for stock."""
        return self.quantity - self.back_ordered
