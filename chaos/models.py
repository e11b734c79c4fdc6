"""Tables of the fault suite: business rows, effects of receivers, contended rows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models


class Ticket(models.Model):
    """The business row, written in the same transaction as its event."""

    key = models.CharField(max_length=100, unique=True)
    event_id = models.UUIDField()

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return self.key


class Effect(models.Model):
    """One effect of an atomic receiver; a duplicated effect has two rows."""

    kind = models.CharField(max_length=20)
    key = models.CharField(max_length=100, db_index=True)

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class Account(models.Model):
    """A row that receivers change at the same time."""

    name = models.CharField(max_length=20, unique=True)
    changes = models.IntegerField(default=0)

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return f"{self.name}: {self.changes}"
