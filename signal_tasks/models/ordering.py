"""Order by key, dedupe keys, and sends that are merged into one delivery."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from signal_tasks.db.clock import DatabaseNow

MAX_KEY = 255


class Sequence(models.Model):
    """The last position that was given to a delivery of a receiver and key.

    A sender holds the lock of its row until it commits, so positions follow the order
    of the commits.
    """

    receiver = models.CharField(max_length=255)
    key = models.CharField(max_length=MAX_KEY)
    last = models.BigIntegerField(default=0)

    objects: ClassVar[models.Manager[Sequence]] = models.Manager()

    class Meta:
        verbose_name = _("sequence")
        verbose_name_plural = _("sequences")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["receiver", "key"], name="signal_tasks_one_sequence"
            )
        ]

    def __str__(self) -> str:
        return f"{self.receiver} {self.key}"


class Turn(models.Model):
    """The place of an ordered delivery in its sequence, until it gives the place up.

    Of the turns of a sequence, the delivery of the lowest position may run.
    """

    delivery_id = models.UUIDField(primary_key=True, editable=False)
    sequence_id = models.BigIntegerField()
    position = models.BigIntegerField()

    objects: ClassVar[models.Manager[Turn]] = models.Manager()

    class Meta:
        verbose_name = _("turn")
        verbose_name_plural = _("turns")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["sequence_id", "position"], name="signal_tasks_one_turn"
            )
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id} at {self.position}"


class DedupeKey(models.Model):
    """A key under which a signal was sent, and is not sent again until it expires."""

    signal = models.CharField(max_length=255)
    key = models.CharField(max_length=MAX_KEY)
    event_id = models.UUIDField()
    expires_at = models.DateTimeField(db_index=True)

    objects: ClassVar[models.Manager[DedupeKey]] = models.Manager()

    class Meta:
        verbose_name = _("dedupe key")
        verbose_name_plural = _("dedupe keys")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["signal", "key"], name="signal_tasks_one_dedupe_key"
            )
        ]

    def __str__(self) -> str:
        return f"{self.signal} {self.key}"


class Coalesced(models.Model):
    """The delivery into which further sends of a receiver and key are merged.

    Only as long as it has not been claimed, and is not due before ``due_by``.
    """

    receiver = models.CharField(max_length=255)
    key = models.CharField(max_length=MAX_KEY)
    delivery_id = models.UUIDField()
    due_by = models.DateTimeField(default=DatabaseNow, db_index=True)

    objects: ClassVar[models.Manager[Coalesced]] = models.Manager()

    class Meta:
        verbose_name = _("coalesced delivery")
        verbose_name_plural = _("coalesced deliveries")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["receiver", "key"], name="signal_tasks_one_coalesced"
            )
        ]

    def __str__(self) -> str:
        return f"{self.receiver} {self.key}"
