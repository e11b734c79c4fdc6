"""The models of the tests: effects of receivers, and things to send events about."""

from __future__ import annotations

from django.db import models


class Effect(models.Model):
    """One row per effect; an effect that happened twice has two rows."""

    what = models.CharField(max_length=200)
    key = models.CharField(max_length=200, blank=True)
    worker = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.what} {self.key}"


class Thing(models.Model):
    """A thing that events are about."""

    name = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.name


class Draft(models.Model):
    """A thing that is saved over and over, and heard by receivers of ``post_save``."""

    text = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.text
