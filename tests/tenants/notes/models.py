"""Notes: rows of different tenants have equal keys."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Note(models.Model):
    """A note of one tenant."""

    text = models.CharField(max_length=100)
    answer = models.CharField(max_length=100, blank=True)

    objects: ClassVar[models.Manager[Note]] = models.Manager()

    def __str__(self) -> str:
        return self.text
