"""Problems that somebody is told of."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from signal_tasks.db.clock import DatabaseNow


class OpenAlert(models.Model):
    """A problem that a channel has told of, or will; see Note [Alerts] in ``alerting``.

    ``key`` is that of the problem; the one with the key ``TURN`` is the turn of the
    channel. ``due_at`` says when the next message, or turn, may come. ``text``,
    ``number`` and ``latest`` are those of the problem as it was told; ``number`` is
    lower if there were fewer since. One that is over stays, with its text and without
    ``told``, until its cooldown has passed.
    """

    #: ``key`` of the row whose ``due_at`` is the end of a turn.
    TURN = "turn"

    channel = models.CharField(max_length=255)
    key = models.CharField(max_length=64)
    kind = models.CharField(max_length=32, blank=True, default="")
    subject = models.TextField(blank=True, default="")
    text = models.TextField(blank=True, default="")
    page = models.TextField(blank=True, default="")
    since = models.DateTimeField(default=DatabaseNow)
    due_at = models.DateTimeField(default=DatabaseNow)
    told = models.BooleanField(default=False)
    number = models.PositiveBigIntegerField(default=0)
    latest = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[OpenAlert]] = models.Manager()

    class Meta:
        verbose_name = _("open alert")
        verbose_name_plural = _("open alerts")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "key"], name="signal_tasks_one_alert"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} over {self.channel}"

    @property
    def is_over(self) -> bool:
        """True if its end was told, and it has not been seen since."""
        return bool(self.text) and not self.told
