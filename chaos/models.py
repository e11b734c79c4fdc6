"""What is expected, and what came of it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models


class Ticket(models.Model):
    """The business row that is written in the transaction of its event."""

    key = models.CharField(max_length=100, unique=True)
    event_id = models.UUIDField()

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return self.key


class Effect(models.Model):
    """What an atomic receiver has done; what it has done twice is here twice."""

    what = models.CharField(max_length=20)
    key = models.CharField(max_length=100, db_index=True)

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return f"{self.what} {self.key}"


class Account(models.Model):
    """A row that receivers fight for."""

    name = models.CharField(max_length=20, unique=True)
    changes = models.IntegerField(default=0)

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return f"{self.name}: {self.changes}"
