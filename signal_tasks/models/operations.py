"""Operations on many deliveries, and the audit trail of everything operators did."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from signal_tasks.db.clock import DatabaseNow, uuid7
from signal_tasks.states import OPEN, OperationState

MAX_BY = 150


class Cursor(NamedTuple):
    """The place at which an operation goes on; stored as one text.

    Attributes:
        key: the last row that was looked at, or empty.
        size: deliveries of the current step of a canary, or found so far while they
            are collected.
        used: deliveries that the current step has changed.
    """

    key: str = ""
    size: int = 0
    used: int = 0

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the cursor that ``str`` has written."""
        key, size, used = (text or "|0|0").split("|")
        return cls(key, int(size), int(used))

    def __str__(self) -> str:
        return f"{self.key}|{self.size}|{self.used}"


class Operation(models.Model):
    """A replay, discard or backfill of many deliveries, worked off by relays.

    ``selection`` is JSON of the selection; only what was finished by ``cutoff_at`` is
    selected. ``open_key`` tells operations that are the same from each other while they
    are open, and is null afterwards. ``cursor`` is where the current phase goes on.
    """

    class Kind(models.TextChoices):
        """The kinds of operations."""

        REPLAY = "replay"
        DISCARD = "discard"
        BACKFILL = "backfill"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    stored_selection = models.TextField(default="{}")
    state = models.CharField(
        max_length=9, choices=OperationState.choices, default=OperationState.PENDING
    )
    total = models.PositiveBigIntegerField(null=True, blank=True)
    done = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    canary = models.BooleanField(default=False)
    step = models.PositiveIntegerField(default=0)
    rate = models.CharField(max_length=32, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    by = models.CharField(max_length=MAX_BY, blank=True, default="")
    note = models.TextField(blank=True, default="")
    open_key = models.CharField(max_length=64, null=True, blank=True, unique=True)
    cursor = models.CharField(max_length=64, blank=True, default="")
    cutoff_at = models.DateTimeField(default=DatabaseNow)
    next_step_at = models.DateTimeField(default=DatabaseNow)
    created_at = models.DateTimeField(default=DatabaseNow)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[Operation]] = models.Manager()

    class Meta:
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        default_permissions = ("view",)
        permissions = [
            ("backfill_operation", "Can backfill past events to a receiver"),
            ("cancel_operation", "Can cancel and resume operations"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=OPEN, finished_at__isnull=True)
                | Q(~Q(state__in=OPEN), finished_at__isnull=False),
                name="signal_tasks_operation_finished",
            )
        ]
        indexes = [
            models.Index(
                fields=["finished_at", "state"], name="signal_tasks_operation_state"
            ),
            models.Index(fields=["-created_at"], name="signal_tasks_operation_new"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    # The verbs change a row that the caller has locked, and do not save it.

    def finish(self, state: OperationState, note: str = "") -> None:
        """Finish or stop an operation; another one like it may be opened."""
        self.state = state
        self.note = note or self.note
        self.open_key = None
        self.finished_at = DatabaseNow()

    def reopen(self, open_key: str) -> None:
        """Go on with a stopped operation, in a new step of the same size."""
        cursor = Cursor.read(self.cursor)
        self.state = OperationState.RUNNING
        self.note = ""
        self.open_key = open_key
        self.finished_at = None
        self.cursor = str(cursor._replace(used=0))
        self.step += 1
        self.next_step_at = DatabaseNow()


class OperationItem(models.Model):
    """A delivery that an operation is for, or was for: of the last one, if of several.

    As a delivery has one row, it is in one open operation at most.
    """

    class State(models.TextChoices):
        """The result of the operation for the delivery."""

        SELECTED = "selected"  # not yet anything
        CHANGED = "changed"  # replayed, discarded
        SKIPPED = "skipped"  # it was in another state by then
        FAILED = "failed"  # it could not be changed, or has failed again in a canary

    delivery_id = models.UUIDField(primary_key=True, editable=False)
    operation_id = models.UUIDField()
    state = models.CharField(
        max_length=8, choices=State.choices, default=State.SELECTED
    )
    step = models.PositiveIntegerField(default=0)

    objects: ClassVar[models.Manager[OperationItem]] = models.Manager()

    class Meta:
        verbose_name = _("item of an operation")
        verbose_name_plural = _("items of operations")
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["operation_id", "state", "delivery_id"],
                name="signal_tasks_operation_items",
            )
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id} {self.state}"


class AuditEntry(models.Model):
    """Something that an operator did: who, when, to what, and why.

    ``command`` is the line of ``manage.py signal_tasks`` that does the same.
    """

    at = models.DateTimeField(default=DatabaseNow, db_index=True)
    verb = models.CharField(max_length=16)
    target = models.TextField()
    by = models.CharField(max_length=MAX_BY, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    operation_id = models.UUIDField(null=True, blank=True)
    command = models.TextField(blank=True, default="")

    objects: ClassVar[models.Manager[AuditEntry]] = models.Manager()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.verb} {self.target} by {self.by or 'nobody'}"
