"""Models: a record of the emails that the mail server accepted."""

from __future__ import annotations

from django.db import models

from orders.models import Order


class Notification(models.Model):
    """One email as it was sent.

    ``key`` is the idempotency key of the delivery that sent it, which is the
    delivery's id.
    """

    class Kind(models.TextChoices):
        """The subject of the email."""

        ORDER_CONFIRMATION = "order-confirmation", "order confirmation"
        BACK_ORDER = "back-order", "back-order notice"
        BACK_ORDER_SERVED = "back-order-served", "back-order served"
        ORDER_CANCELLATION = "order-cancellation", "order cancellation"
        WELCOME = "welcome", "welcome"
        PROOF = "proof", "proof of an address"
        REVIEW = "review", "review of a product"
        SUBSCRIPTION = "subscription", "newsletter subscription"
        UNSUBSCRIPTION = "unsubscription", "newsletter unsubscription"
        CUSTOM = "custom", "custom notification"

    key = models.UUIDField()
    kind = models.CharField(max_length=30, choices=Kind.choices)
    order = models.ForeignKey(
        Order, null=True, on_delete=models.PROTECT, related_name="notifications"
    )
    recipient = models.EmailField()
    subject = models.CharField(max_length=200)
    message_id = models.CharField(max_length=200)
    headers = models.JSONField(default=dict)
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
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
