"""The failures of deliveries, as lists show them."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from signal_tasks.models import Attempt


def last_failures(
    ids: Collection[uuid.UUID], *, database: str
) -> dict[uuid.UUID, Attempt]:
    """Return the last failed attempt of each delivery that has one, by its id.

    In one statement, without the tracebacks: for a page of deliveries.
    """
    return Attempt.last_of(ids, database=database)
