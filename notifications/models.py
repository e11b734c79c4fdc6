"""The record of messages that were handed to the mail server."""

from __future__ import annotations

from django.db import models

from orders.models import Order


class Notification(models.Model):
    """One message to a customer, under the idempotency key of its delivery."""

    class Kind(models.TextChoices):
        """What the message is about."""

        ORDER_CONFIRMATION = "order-confirmation", "order confirmation"
        BACK_ORDER = "back-order", "back-order notice"

    key = models.UUIDField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    order = models.ForeignKey(
        Order, on_delete=models.PROTECT, related_name="notifications"
    )
    recipient = models.EmailField()
    subject = models.CharField(max_length=200)
    message_id = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["key"], name="notifications_once_per_delivery"
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} to {self.recipient}"
