"""Events, deliveries, and the attempts at them that failed."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from signal_tasks.context import CAUSES, MAX_CORRELATION, split_headers
from signal_tasks.db.clock import DatabaseNow, uuid7
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.states import Reason, State

#: Longest ``subject`` of an event, in characters.
MAX_SUBJECT = 255


class Event(models.Model):
    """One ``send`` of a signal: its payload, once for all its deliveries.

    ``subject`` is the object that it is about, as ``app.model:pk``, or empty.
    ``correlation`` is what its headers say of its correlation id, to search by.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    signal = models.CharField(max_length=255)
    payload = models.TextField()
    headers = models.TextField(blank=True, default="")
    cause_id = models.UUIDField(null=True, blank=True)
    subject = models.CharField(
        max_length=MAX_SUBJECT, blank=True, default="", db_default=""
    )
    sent_at = models.DateTimeField(default=DatabaseNow)
    # Null, and not empty, because SQLite uses a partial index for nothing else.
    correlation = models.CharField(  # noqa: DJ001
        max_length=MAX_CORRELATION, null=True, blank=True
    )

    objects: ClassVar[models.Manager[Event]] = models.Manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        default_permissions = ("view",)
        indexes = [models.Index(fields=["subject"], name="signal_tasks_subject")]

    def __str__(self) -> str:
        return f"{self.signal} {self.pk}"

    def header_mapping(self) -> dict[str, Any]:
        """Return the headers as they were given to ``using(headers=...)``.

        Raises:
            DecodeError: somebody has damaged them since.
        """
        headers, _ = split_headers(self.headers)
        return headers

    def context_mapping(self) -> dict[str, Any]:
        """Return the context of the sender; see Note [Context] in ``context``."""
        _, carried = split_headers(self.headers)
        carried.pop(CAUSES, None)
        return carried


#: Longest text of ``parked``, in characters.
MAX_PARKED = 255
#: Compared one by one: PostgreSQL needs three times as long to read a list.
IS_LIVE = Q(state=State.PENDING) | Q(state=State.RUNNING)


class Delivery(models.Model):
    """One receiver's share of an event, and the only record of its state.

    ``next_check_at`` says when a relay must look at it next: it then publishes a
    pending delivery (again), and the lease of a running one is then over. It is null
    once the delivery has finished.

    ``lease`` is the token of the last claim; see Note [Fencing] in ``db.claim``.
    ``run`` grows with each replay, so that attempts of each run are told apart.

    ``parked`` says why a pending delivery could not be published, when the reason is
    not the broker's; it is empty again once it was published or claimed.

    ``merged`` counts the sends that were merged into this delivery; see ``Coalesced``.
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
    run = models.SmallIntegerField(default=1)
    attempts = models.IntegerField(default=0)
    lease = models.BigIntegerField(default=0)
    claimed_by = models.UUIDField(null=True, blank=True)
    available_at = models.DateTimeField(default=DatabaseNow)
    next_check_at = models.DateTimeField(null=True, blank=True)
    publish_count = models.SmallIntegerField(default=0)
    isolated = models.BooleanField(default=False)
    orphaned = models.BooleanField(default=False)
    parked = models.CharField(
        max_length=MAX_PARKED, blank=True, default="", db_default=""
    )
    merged = models.IntegerField(default=0, db_default=0)
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
                condition=Q(
                    IS_LIVE, next_check_at__isnull=False, finished_at__isnull=True
                )
                | Q(~IS_LIVE, next_check_at__isnull=True, finished_at__isnull=False),
                name="signal_tasks_live_or_finished",
            ),
        ]
        indexes = [
            models.Index(fields=["next_check_at"], name="signal_tasks_next_check_at"),
            models.Index(
                fields=["finished_at", "state"], name="signal_tasks_finished_at"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.receiver} {self.pk}"


class Extension(models.Model):
    """A longer lease of a running delivery; see Note [Extensions] in ``querysets.workers``.

    Void once ``next_check_at`` of the delivery is no longer ``lease_end``.
    """

    delivery_id = models.UUIDField(primary_key=True, editable=False)
    lease_end = models.DateTimeField()
    until = models.DateTimeField()

    objects: ClassVar[models.Manager[Extension]] = models.Manager()

    class Meta:
        verbose_name = _("extension of a lease")
        verbose_name_plural = _("extensions of leases")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.delivery_id} until {self.until}"


class Attempt(models.Model):
    """One attempt that failed, kept for the people who have to find out why.

    An attempt that was deferred any number of ``times`` is one row, of the last time.
    ``fingerprint`` is that of its ``FailureGroup``, ``task_id`` that of its Celery task.
    """

    class Consequence(models.TextChoices):
        """The consequence of a failed attempt for its delivery."""

        RETRIED = "retried"  # it is run again
        RELEASED = "released"  # it is run again, and this attempt does not count
        DEFERRED = "deferred"  # the same, because the receiver has asked for it
        DEAD = "dead"  # that was the last one

    delivery = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, related_name="failures"
    )
    run = models.SmallIntegerField(default=1)
    number = models.PositiveIntegerField()
    consequence = models.CharField(max_length=8, choices=Consequence.choices)
    times = models.PositiveIntegerField(default=1)
    error_type = models.CharField(max_length=255)
    error = models.TextField()
    traceback = models.TextField(blank=True)
    worker = models.CharField(max_length=255, blank=True)
    task_id = models.UUIDField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    failed_at = models.DateTimeField(default=DatabaseNow)
    fingerprint = models.CharField(max_length=16, blank=True, default="", db_default="")

    objects: ClassVar[models.Manager[Attempt]] = models.Manager()

    class Meta:
        verbose_name = _("failed attempt")
        verbose_name_plural = _("failed attempts")
        default_permissions = ("view",)
        ordering = ("pk",)
        indexes = [
            # The dead letters of a group, the latest first, without reading attempts.
            models.Index(
                fields=["fingerprint", "consequence", "id", "delivery", "run"],
                name="signal_tasks_group",
            ),
            # Dead letters are counted by it: see docs/decisions/metrics.md.
            models.Index(
                fields=["consequence", "delivery"], name="signal_tasks_consequence"
            ),
        ]

    def __str__(self) -> str:
        when = f"run {self.run}, attempt {self.number}"
        return f"{self.error_type} in {when} of {self.delivery_id}"

    @classmethod
    def last_of(
        cls, ids: Collection[uuid.UUID], *, database: str
    ) -> dict[uuid.UUID, Attempt]:
        """Return the last failed attempt of each delivery that has one, by its id.

        In one statement, without the tracebacks.
        """
        attempts = cls.objects.using(database)
        of_these = attempts.filter(delivery_id__in=ids).order_by().values("delivery_id")
        last = of_these.annotate(last=models.Max("pk")).values("last")
        found = attempts.filter(pk__in=last).defer("traceback") if ids else ()
        return {attempt.delivery_id: attempt for attempt in found}
