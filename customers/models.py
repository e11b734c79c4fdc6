"""Who buys, what is shown of an account, and who reads the newsletter."""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.db import models


class Customer(models.Model):
    """Somebody who has ordered or registered; the email address tells them apart."""

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


def picture_name(profile: CustomerProfile, filename: str) -> str:
    """A name that nobody guesses and that says nothing of the file on their disk."""
    return f"pictures/{uuid4().hex}.jpg"


class CustomerProfile(models.Model):
    """What the shop shows of an account: its names, and a picture if they gave one.

    The names are those of the account; ``keep_profile`` follows them.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="profile"
    )
    first_name = models.CharField(max_length=150, blank=True)
    last_name = models.CharField(max_length=150, blank=True)
    picture = models.ImageField(upload_to=picture_name, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or "A customer"


class Subscriber(models.Model):
    """An address that gets the newsletter, or got it once."""

    email = models.EmailField()
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("email",)
        constraints = (
            models.UniqueConstraint(fields=["email"], name="customers_subscriber_once"),
        )

    def __str__(self) -> str:
        return self.email

    def activate(self) -> bool:
        """Let the newsletter come again; False when it did not stop."""
        return self._set(active=True)

    def deactivate(self) -> bool:
        """Let it stop; False when it had."""
        return self._set(active=False)

    def _set(self, *, active: bool) -> bool:
        others = Subscriber.objects.filter(pk=self.pk, active=not active)
        changed = others.update(active=active)
        self.active = active
        return bool(changed)
