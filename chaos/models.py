"""Tables of the fault suite: business rows, effects of receivers, contended rows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models


class Ticket(models.Model):
    """The business row, written in the same transaction as its event.

    It is the ``place``-th of its line that was committed.
    """

    key = models.CharField(max_length=100, unique=True)
    event_id = models.UUIDField()
    line = models.CharField(max_length=100)
    place = models.IntegerField()

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return self.key


class Line(models.Model):
    """Tickets of one key: how many were committed.

    Each transaction counts after its send, and holds the row until it has committed.
    """

    name = models.CharField(max_length=100, unique=True)
    last = models.IntegerField(default=0)

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return f"{self.name}: {self.last}"

    @classmethod
    def next_place(cls, name: str) -> int:
        """Return the place of a ticket in its line, in the transaction that is open."""
        rows = cls.objects.filter(name=name)
        while not rows.update(last=models.F("last") + 1):
            cls.objects.bulk_create([cls(name=name)], ignore_conflicts=True)
        return int(rows.get().last)


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
