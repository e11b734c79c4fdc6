"""Models: customers, profiles and subscribers."""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.db import models


class Customer(models.Model):
    """Somebody who has ordered or registered, identified by their email address."""

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
    """Return a random name, unrelated to the name of the uploaded file."""
    return f"pictures/{uuid4().hex}.jpg"


class CustomerProfile(models.Model):
    """The public part of an account: its names, and a picture if there is one.

    The names are copies of the user's, made by ``keep_profile``.
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


class AddressProof(models.Model):
    """An account, or a visitor without one, has proved to own an email address."""

    email = models.EmailField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+"
    )
    visitor = models.UUIDField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["email", "user"], name="customers_proof_once_per_user"
            ),
            models.UniqueConstraint(
                fields=["email", "visitor"], name="customers_proof_once_per_visitor"
            ),
            models.CheckConstraint(
                condition=models.Q(user=None, visitor__isnull=False)
                | models.Q(user__isnull=False, visitor=None),
                name="customers_proof_of_one",
            ),
        )

    def __str__(self) -> str:
        return self.email


class Quota(models.Model):
    """A count of the emails asked for in an hour; ``key`` hashes who or whom for."""

    key = models.CharField(max_length=64)
    hour = models.DateTimeField(db_index=True)
    used = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["key", "hour"], name="customers_quota_once_per_hour"
            ),
        )

    def __str__(self) -> str:
        return f"{self.used} emails"


class Subscriber(models.Model):
    """An address that gets the newsletter (``active``), or got it before."""

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
        """Subscribe the address again; return False if it is subscribed."""
        return self._set(active=True)

    def deactivate(self) -> bool:
        """Unsubscribe the address; return False if it is not subscribed."""
        return self._set(active=False)

    def _set(self, *, active: bool) -> bool:
        others = Subscriber.objects.filter(pk=self.pk, active=not active)
        changed = others.update(active=active)
        self.active = active
        return bool(changed)
