"""Events that wait until all of their deliveries have finished."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class UnsettledEvent(models.Model):
    """An event of which ``settled`` is to be sent when its deliveries have finished.

    Written only where a receiver of ``settled`` is connected. Relays look at it at
    ``check_at``, in case that no worker does; ``checks`` counts how often they have.
    """

    event_id = models.UUIDField(primary_key=True, editable=False)
    signal = models.CharField(max_length=255)
    check_at = models.DateTimeField()
    checks = models.SmallIntegerField(default=0)

    objects: ClassVar[models.Manager[UnsettledEvent]] = models.Manager()

    class Meta:
        verbose_name = _("unsettled event")
        verbose_name_plural = _("unsettled events")
        default_permissions = ()
        indexes = [
            models.Index(fields=["signal", "check_at"], name="signal_tasks_unsettled")
        ]

    def __str__(self) -> str:
        return f"{self.signal} {self.event_id}"
