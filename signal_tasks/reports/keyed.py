"""The keys of ordered deliveries, in the statement that reads the deliveries."""

from __future__ import annotations

from django.db.models import OuterRef, Subquery

from signal_tasks.models import Sequence, Turn


def key_of(database: str, column: str = "pk") -> Subquery:
    """Return the key of the delivery of a column, as long as that has its turn."""
    turn = Turn.objects.using(database).filter(pk=OuterRef(OuterRef(column)))
    sequences = Sequence.objects.using(database)
    mine = sequences.filter(pk=Subquery(turn.values("sequence_id")))
    return Subquery(mine.values("key"))
