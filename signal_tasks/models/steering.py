"""Models that steer deliveries: an operator's controls, and the state of limits."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from signal_tasks.db.clock import DatabaseNow
from signal_tasks.registry.registry import registry
from signal_tasks.states import Breaker, Hold

#: Longest target, in characters: ``receiver:`` and a name.
MAX_TARGET = 264
#: The names of gates of signals begin with it, as their targets do.
SIGNAL = "signal:"


class Control(models.Model):
    """A pause or a limit that an operator has set for a target.

    A target is ``*``, ``receiver:NAME``, ``signal:NAME`` or ``queue:NAME``. A control
    whose ``until`` has passed is void.
    """

    class Kind(models.TextChoices):
        """The kinds of controls."""

        PAUSE = "pause"  # nothing of the target starts
        LIMIT = "limit"  # rate and max_concurrency in place of those in the code

    kind = models.CharField(max_length=5, choices=Kind.choices)
    target = models.CharField(max_length=MAX_TARGET)
    rate = models.CharField(max_length=32, blank=True, default="")
    max_concurrency = models.PositiveIntegerField(null=True, blank=True)
    until = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, default="")
    by = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField(default=DatabaseNow)

    objects: ClassVar[models.Manager[Control]] = models.Manager()

    class Meta:
        verbose_name = _("control")
        verbose_name_plural = _("controls")
        default_permissions = ("view",)
        permissions = [
            ("pause_target", "Can pause and resume"),
            ("limit_target", "Can set and clear limits"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "target"], name="signal_tasks_one_control"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


class Gate(models.Model):
    """The state that all workers share of a receiver that is held, limited or broken.

    There is none for a receiver of which nothing was ever held back. It has the oldest
    name of its receiver; see Note [Renames] in ``registry.registry``. A gate named
    ``signal:NAME`` is that of a paused signal; see Note [Holding] in
    ``steering.holding``.
    """

    receiver = models.CharField(max_length=MAX_TARGET, primary_key=True)
    #: Some of its deliveries may be held; relays bring them back.
    holding = models.BooleanField(default=False)
    released_at = models.DateTimeField(null=True, blank=True)
    #: When the next block of tokens may be taken.
    next_token_at = models.DateTimeField(null=True, blank=True)
    breaker = models.CharField(
        max_length=9, choices=Breaker.choices, default=Breaker.CLOSED
    )
    failures = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True)
    #: When the breaker lets a delivery probe, or the probe counts as lost.
    probe_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[Gate]] = models.Manager()

    class Meta:
        verbose_name = _("gate")
        verbose_name_plural = _("gates")
        default_permissions = ()

    def __str__(self) -> str:
        return self.receiver

    @classmethod
    def of_receivers(cls, database: str) -> list[Gate]:
        """Return the gates of receivers under their present names, to be shown.

        Former gates of a receiver are left out, and a breaker that the code does not
        have any more is closed. Those of receivers that are not known here are as they
        are stored.
        """
        shown = []
        for gate in cls.objects.using(database).exclude(receiver__startswith=SIGNAL):
            receiver = registry.receiver(gate.receiver)
            if receiver is not None and gate.receiver != receiver.oldest_name:
                continue
            if receiver is not None:
                gate.receiver = receiver.name
                if receiver.options.breaker is None:
                    gate.breaker = Breaker.CLOSED
            shown.append(gate)
        return sorted(shown, key=lambda gate: gate.receiver)


class HeldDelivery(models.Model):
    """A pending delivery that is not published, since nothing of it may start now.

    ``receiver`` is the gate that it waits at. Void once the delivery is no longer
    pending.
    """

    delivery_id = models.UUIDField(primary_key=True, editable=False)
    receiver = models.CharField(max_length=MAX_TARGET)
    why = models.CharField(max_length=7, choices=Hold.choices)

    objects: ClassVar[models.Manager[HeldDelivery]] = models.Manager()

    class Meta:
        verbose_name = _("held delivery")
        verbose_name_plural = _("held deliveries")
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["receiver", "delivery_id"], name="signal_tasks_held_of_receiver"
            )
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id} {self.why}"


class Slot(models.Model):
    """A claimed delivery of a receiver with ``max_concurrency``, at its gate.

    Only an index of the leases, which are what is counted: void once the delivery does
    not run under this lease any more.
    """

    delivery_id = models.UUIDField(primary_key=True, editable=False)
    receiver = models.CharField(max_length=255, db_index=True)
    lease = models.BigIntegerField()

    objects: ClassVar[models.Manager[Slot]] = models.Manager()

    class Meta:
        verbose_name = _("slot")
        verbose_name_plural = _("slots")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.receiver} {self.delivery_id}"


class FailureGroup(models.Model):
    """Failed attempts of one receiver that have the same cause, by their fingerprint.

    ``failures`` counts attempts; ``sample`` is the error text of the first one, and
    ``location`` the innermost function of the project's own code.
    """

    fingerprint = models.CharField(max_length=16, primary_key=True)
    receiver = models.CharField(max_length=255, db_index=True)
    error_type = models.CharField(max_length=255)
    location = models.CharField(max_length=255, blank=True, default="")
    sample = models.TextField(blank=True, default="")
    failures = models.PositiveBigIntegerField(default=0)
    first_seen_at = models.DateTimeField(default=DatabaseNow)
    last_seen_at = models.DateTimeField(default=DatabaseNow, db_index=True)
    note = models.TextField(blank=True, default="")

    objects: ClassVar[models.Manager[FailureGroup]] = models.Manager()

    class Meta:
        verbose_name = _("failure group")
        verbose_name_plural = _("failure groups")
        default_permissions = ("view",)
        permissions = [("annotate_failuregroup", "Can write notes on failure groups")]

    def __str__(self) -> str:
        return f"{self.receiver}: {self.error_type} ({self.fingerprint})"
