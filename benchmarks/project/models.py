"""The tables of the measured project."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

#: Rows of stock; the work of each event changes one of them.
ROWS = 1000


class Stock(models.Model):
    """A product; ``taken`` counts the effects."""

    objects: ClassVar[models.Manager[Stock]] = models.Manager()
    taken = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.pk}: {self.taken}"


class Order(models.Model):
    """An order; its insert is the transaction that an event belongs to."""

    objects: ClassVar[models.Manager[Order]] = models.Manager()
    stock_id = models.IntegerField()
    placed_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.pk}"
