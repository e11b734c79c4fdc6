"""Deliveries and their verbs: every change of a state is one of them.

# Note [Guards]
Each verb is guarded by the state it starts from, and by the lease where a worker
holds one, in an UPDATE of its own, without the caller's filter. A database evaluates
such a guard again for a row that changed meanwhile, but not one that a join has made
part of a subquery. An operator's verb, which does have a filter, locks the rows that it
has found and then asks again which of them it is for.

All run on the alias of the queryset. Nothing here knows a receiver, a policy or the
broker.
"""

from __future__ import annotations

from signal_tasks.querysets.figures import Figures
from signal_tasks.querysets.operators import (
    DISCARDABLE,
    REPLAYABLE,
    OperatorVerbs,
)
from signal_tasks.querysets.pruning import Pruning
from signal_tasks.querysets.relays import RelayVerbs
from signal_tasks.querysets.rows import D
from signal_tasks.querysets.workers import WorkerVerbs

__all__ = ["DISCARDABLE", "REPLAYABLE", "DeliveryQuerySet"]


class DeliveryQuerySet(  # type: ignore[override] # as_manager(), of each class its own
    WorkerVerbs[D], RelayVerbs[D], OperatorVerbs[D], Pruning[D], Figures[D]
):
    """Deliveries, with the verbs of all who change or count them."""
