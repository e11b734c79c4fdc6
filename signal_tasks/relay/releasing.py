"""Release what is held, as fast as the gates permit."""

from __future__ import annotations

from signal_tasks.steering.gates import releasable
from signal_tasks.steering.holding import release_held
from signal_tasks.steering.snapshot import FRESH, snapshot


def release_due(database: str) -> int:
    """Make held deliveries that may start due again; return how many.

    No query while nothing is held. Note [Snapshots] says why the look is a fresh one.
    """
    if not snapshot(database).holding:
        return 0
    current = snapshot(database, max_age=FRESH)
    limits = {gate: releasable(gate, current) for gate in current.holding}
    return sum(
        release_held(gate, limit, database=database)
        for gate, limit in limits.items()
        if limit
    )
