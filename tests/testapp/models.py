"""Where receivers of the tests leave their effects."""

from __future__ import annotations

from django.db import models


class Effect(models.Model):
    """One line per effect; what happened twice is there twice."""

    what = models.CharField(max_length=200)
    key = models.CharField(max_length=200, blank=True)
    worker = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.what} {self.key}"


class Thing(models.Model):
    """Something that signals are sent about."""

    name = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.name
