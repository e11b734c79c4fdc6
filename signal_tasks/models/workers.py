"""Workers and relays that report to be at work."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from signal_tasks.db.clock import DatabaseNow
from signal_tasks.models.deliveries import MAX_PARKED


class Worker(models.Model):
    """A worker or relay that reports to be at work on this database.

    Deliveries name the worker that runs them by this id (``claimed_by``); see Note
    [Silence] in ``relay.heartbeat``. ``rescued`` and ``broker_error`` are explained by
    Note [Rescued deliveries] in ``relay.rescues``.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255)
    started_at = models.DateTimeField(default=DatabaseNow)
    seen_at = models.DateTimeField(default=DatabaseNow)
    runs_relay = models.BooleanField(default=True)
    queues = models.TextField(blank=True, default="")  # that it consumes: a line each
    rescued = models.IntegerField(default=0)
    broker_error = models.CharField(max_length=MAX_PARKED, blank=True, default="")

    objects: ClassVar[models.Manager[Worker]] = models.Manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name
