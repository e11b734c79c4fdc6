"""Rows that receivers write."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    stock = models.IntegerField(default=10)


class Attempted(models.Model):
    """Written outside of the transaction of the receiver: it survives a failure."""

    number = models.IntegerField()
