"""The rows: what was sent, what is owed to whom, what went wrong, who is at work."""

from __future__ import annotations

import json
import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from signal_tasks.clock import DatabaseNow, uuid7
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.states import Reason, State


class Event(models.Model):  # type: ignore[django-manager-missing]
    """One ``send`` of a signal: its payload, once for all its deliveries."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    signal = models.CharField(max_length=255)
    payload = models.TextField()
    headers = models.TextField(blank=True, default="")
    cause_id = models.UUIDField(null=True, blank=True)
    sent_at = models.DateTimeField(default=DatabaseNow)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.signal} {self.pk}"

    def header_mapping(self) -> dict[str, Any]:
        """The headers as they were given to ``using(headers=...)``."""
        return dict(json.loads(self.headers)) if self.headers else {}


#: Compared one by one: PostgreSQL needs three times as long to read a list.
IS_LIVE = Q(state=State.PENDING) | Q(state=State.RUNNING)


class Delivery(models.Model):
    """One receiver's share of an event, and the only truth about its fate.

    ``relay_at`` says when the relay must look at it next: a pending delivery is
    then published (again), the lease of a running one is then over. It is null
    when nothing is owed.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event = models.ForeignKey(
        Event,
        on_delete=models.CASCADE,
        related_name="deliveries",
        db_index=False,  # the unique constraint has one
        db_constraint=False,  # see docs/decisions/light-rows.md
    )
    receiver = models.CharField(max_length=255)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    reason = models.CharField(
        max_length=11, choices=Reason.choices, blank=True, default=""
    )
    attempts = models.IntegerField(default=0)
    lease = models.IntegerField(default=0)
    available_at = models.DateTimeField(default=DatabaseNow)
    relay_at = models.DateTimeField(null=True, blank=True)
    relays = models.SmallIntegerField(default=0)
    alone = models.BooleanField(default=False)
    orphaned = models.BooleanField(default=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        default_permissions = ("view",)
        permissions = [
            ("replay_delivery", "Can replay dead deliveries"),
            ("discard_delivery", "Can discard deliveries"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["event", "receiver"], name="signal_tasks_one_per_receiver"
            ),
            models.CheckConstraint(
                condition=Q(IS_LIVE, relay_at__isnull=False, finished_at__isnull=True)
                | Q(~IS_LIVE, relay_at__isnull=True, finished_at__isnull=False),
                name="signal_tasks_watched_or_over",
            ),
        ]
        indexes = [
            models.Index(fields=["relay_at"], name="signal_tasks_relay_at"),
            models.Index(
                fields=["finished_at", "state"], name="signal_tasks_finished_at"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.receiver} {self.pk}"


class Attempt(models.Model):
    """One attempt that failed, kept for the people who have to find out why."""

    class Outcome(models.TextChoices):
        """What the failure led to."""

        RETRIED = "retried"  # it will be run again
        DEAD = "dead"  # that was the last one

    delivery = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, related_name="failures"
    )
    number = models.PositiveIntegerField()
    outcome = models.CharField(max_length=7, choices=Outcome.choices)
    error_type = models.CharField(max_length=255)
    error = models.TextField()
    traceback = models.TextField(blank=True)
    worker = models.CharField(max_length=255, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    failed_at = models.DateTimeField(default=DatabaseNow)

    class Meta:
        verbose_name = _("failed attempt")
        verbose_name_plural = _("failed attempts")
        default_permissions = ("view",)
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.error_type} in attempt {self.number} of {self.delivery_id}"


class Worker(models.Model):
    """A worker or relay that was seen at work on this database."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255)
    started_at = models.DateTimeField(default=DatabaseNow)
    seen_at = models.DateTimeField(default=DatabaseNow)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name
