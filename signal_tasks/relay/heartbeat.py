"""The row with which a worker or relay says that it is at work."""

from __future__ import annotations

import uuid
from datetime import timedelta

from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.models import Worker

#: Time between two heartbeats of a relay (seconds).
INTERVAL = 5.0
#: A worker's row is deleted when the worker was not seen for this long.
FORGET_AFTER = timedelta(days=1)


def beat(database: str, worker: uuid.UUID, name: str) -> None:
    """Record that this worker is at work now."""
    rows = Worker.objects.using(database)
    if not rows.filter(pk=worker).update(seen_at=DatabaseNow()):
        rows.create(pk=worker, name=name)


def leave(database: str, worker: uuid.UUID) -> None:
    """Delete the row of a worker that stops."""
    Worker.objects.using(database).filter(pk=worker).delete()


def forget_old_workers(database: str) -> None:
    """Delete rows of workers that were not seen for FORGET_AFTER."""
    old = from_now(-FORGET_AFTER.total_seconds())
    Worker.objects.using(database).filter(seen_at__lt=old).delete()
