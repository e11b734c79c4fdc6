"""Release what is held, as fast as the gates permit."""

from __future__ import annotations

from signal_tasks.registry.registry import registry
from signal_tasks.steering.gates import (
    RELEASED,
    is_limited,
    releasable,
    something_is_limited,
)
from signal_tasks.steering.holding import release_held
from signal_tasks.steering.snapshot import FRESH, Snapshot, snapshot

#: How old a snapshot may be where anything is limited (seconds).
LIMITED_AGE = 0.9


def release_due(database: str) -> int:
    """Make held deliveries that may start due again; return how many.

    No query while nothing is held. Note [Snapshots] in ``steering.snapshot`` says why
    the look is a fresh one.
    """
    if not _look(database).holding:
        return 0
    current = snapshot(database, max_age=FRESH)
    limits = {gate: releasable(gate, current, database) for gate in current.holding}
    return sum(
        release_held(gate, limit, database=database, wait=limit < RELEASED)
        for gate, limit in limits.items()
        if limit
    )


def _look(database: str) -> Snapshot:
    """Look more often where code or operators set limits: tokens are lost meanwhile."""
    current = snapshot(database)
    limited = any(is_limited(receiver, current) for receiver in registry.receivers())
    return snapshot(database, max_age=LIMITED_AGE) if limited else current


def is_hurried(database: str) -> bool:
    """Return True if something is held that may start in less than a second."""
    return something_is_limited(snapshot(database))
