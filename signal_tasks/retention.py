"""Deletes what ended longer ago than it is kept, a little at a time.

The relay deletes one batch in a pass, so that it is never kept from publishing;
``manage.py signal_tasks prune`` goes on until nothing is left. Both rest in between.
"""

from __future__ import annotations

import time

from signal_tasks.conf import settings
from signal_tasks.models import Delivery
from signal_tasks.states import State

#: Deliveries that are deleted in one transaction.
BATCH = 1000
#: Who prunes on and on works for this share of the time, so that others can.
SHARE = 0.2


def prune_some(database: str) -> int:
    """Delete up to ``BATCH`` deliveries whose time is over; how many it were."""
    keep = {
        State.SUCCEEDED: settings().KEEP_SUCCEEDED,
        State.DISCARDED: settings().KEEP_DISCARDED,
        State.DEAD: settings().KEEP_DEAD,
    }
    pruned = 0
    for state, age in keep.items():
        if age is not None and pruned < BATCH:
            rows = Delivery.objects.using(database)
            pruned += rows.prune(state, older_than=age, limit=BATCH - pruned)
    return pruned


def prune(database: str) -> int:
    """Delete everything whose time is over, in batches; how many deliveries it were."""
    total = 0
    while True:
        started = time.monotonic()
        pruned = prune_some(database)
        total += pruned
        if pruned < BATCH:
            return total
        time.sleep(max(0.0, rested(started) - time.monotonic()))


def rested(started: float) -> float:
    """When to prune again after a batch that has just ended (monotonic seconds)."""
    return started + (time.monotonic() - started) / SHARE
