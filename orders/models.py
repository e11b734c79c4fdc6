"""Orders and their lines.

The state of an order moves by the guarded verbs below alone; the loser of a race is
told so and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID, uuid4

from django.db import models
from django.urls import reverse
from django.utils import timezone

from customers.models import Customer
from products.models import Product


class Order(models.Model):
    """What one customer wants, under the name and address given with this order."""

    class Status(models.TextChoices):
        """placed -> confirmed -> back-ordered, never back."""

        PLACED = "placed", "placed"
        CONFIRMED = "confirmed", "confirmed"
        BACK_ORDERED = "back-ordered", "back-ordered"

    reference = models.UUIDField(default=uuid4)
    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, related_name="orders"
    )
    customer_name = models.CharField(max_length=100)
    customer_email = models.EmailField()
    status = models.CharField(
        max_length=12, choices=Status.choices, default=Status.PLACED
    )
    created_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True)
    confirmation_event_id = models.UUIDField(null=True)
    back_order_event_id = models.UUIDField(null=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["reference"], name="orders_reference_unique"
            ),
            models.CheckConstraint(
                condition=models.Q(status="placed", confirmed_at__isnull=True)
                | models.Q(
                    status__in=["confirmed", "back-ordered"],
                    confirmed_at__isnull=False,
                ),
                name="orders_status_agrees",
            ),
        )

    def __str__(self) -> str:
        return f"Order {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("order", args=[self.pk])

    @property
    def total(self) -> Decimal:
        """What the whole order costs."""
        return sum((line.total for line in self.lines.all()), Decimal(0))

    def quantities(self) -> dict[int, int]:
        """How many of each product are wanted, by product id."""
        return dict(self.lines.values_list("product_id", "quantity"))

    def mark_confirmed(self) -> bool:
        """Confirm a placed order; False when another did so before."""
        return self._move(
            self.Status.PLACED, self.Status.CONFIRMED, confirmed_at=timezone.now()
        )

    def mark_back_ordered(self, missing: Mapping[int, int]) -> bool:
        """Note what has to wait on a confirmed order; False when that was done."""
        if not self._move(self.Status.CONFIRMED, self.Status.BACK_ORDERED):
            return False
        for product_id, quantity in missing.items():
            self.lines.filter(product_id=product_id).update(back_ordered=quantity)
        return True

    def note_event(self, **event_id: UUID | None) -> None:
        """Remember which event told others, so that its deliveries can be shown."""
        self._write(Order.objects.filter(pk=self.pk), **event_id)

    def _move(self, source: Status, target: Status, **changes: object) -> bool:
        placed = Order.objects.filter(pk=self.pk, status=source)
        return self._write(placed, status=target, **changes)

    def _write(self, rows: models.QuerySet[Order], **changes: object) -> bool:
        if not rows.update(**changes):
            return False
        for name, value in changes.items():
            setattr(self, name, value)
        return True


class OrderLine(models.Model):
    """One product of an order, at the price of the moment it was ordered."""

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
        """What this line costs."""
        return self.quantity * self.unit_price

    @property
    def served(self) -> int:
        """How many need not wait."""
        return self.quantity - self.back_ordered
