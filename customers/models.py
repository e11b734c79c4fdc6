"""The customer: one row per email address."""

from __future__ import annotations

from django.db import models


class Customer(models.Model):
    """Somebody who has ordered at least once; the email address tells them apart."""

    name = models.CharField(max_length=100)
    email = models.EmailField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "pk")
        constraints = (
            models.UniqueConstraint(fields=["email"], name="customers_email_unique"),
        )

    def __str__(self) -> str:
        return self.name
