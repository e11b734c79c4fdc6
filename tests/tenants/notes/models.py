"""Notes: rows of different tenants have equal keys."""

from __future__ import annotations

from django.db import models


class Note(models.Model):
    """A note of one tenant."""

    text = models.CharField(max_length=100)
    answer = models.CharField(max_length=100, blank=True)

    def __str__(self) -> str:
        return self.text
