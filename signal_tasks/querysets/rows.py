"""The base of the verbs: rows by id, whatever the caller has filtered."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Self, TypeVar

from django.apps import apps
from django.db.models import Case, F, Model, QuerySet, Value, When

from signal_tasks.db import turns
from signal_tasks.states import State

#: ``models.Delivery``, which is made of this package.
D = TypeVar("D", bound=Model)
#: Rows that one UPDATE of many changes.
BATCH = 1000


class DeliveryRows(QuerySet[D]):
    """Deliveries, with what the verbs of several callers need."""

    def unfiltered(self) -> Self:
        """Return all deliveries of this queryset's database; see Note [Guards]."""
        return type(self)(self.model, using=self.db)

    def leased(self, ids: Collection[uuid.UUID], lease: int) -> Self:
        """Return those of ``ids`` that run under this lease."""
        rows = self.unfiltered()
        return rows.filter(pk__in=ids, lease=lease, state=State.RUNNING)

    def give_up_turns(self, ids: Collection[uuid.UUID], *, after: float = 0.0) -> None:
        """Let what waits behind these deliveries run; relays see to it ``after`` seconds.

        For deliveries that finish in the same transaction. Those that have no turn are
        passed over.
        """
        turns.give_up(ids, self.unfiltered(), after=after)


def rows_of(model: str, database: str) -> QuerySet[Any]:
    return QuerySet(apps.get_model("signal_tasks", model), using=database)


def one_less(field: str) -> Case:
    """Return the field less one, but never below zero."""
    return Case(When(**{f"{field}__gt": 0}, then=F(field) - 1), default=Value(0))


def batches(ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
