"""The failures of deliveries, as lists show them."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db.models import Max

from signal_tasks.models import Attempt


def last_failures(
    ids: Collection[uuid.UUID], *, database: str
) -> dict[uuid.UUID, Attempt]:
    """Return the last failed attempt of each delivery that has one, by its id.

    In one statement, without the tracebacks: for a page of deliveries.
    """
    attempts = Attempt.objects.using(database)
    of_these = attempts.filter(delivery_id__in=ids).order_by().values("delivery_id")
    last = of_these.annotate(last=Max("pk")).values("last")
    found = attempts.filter(pk__in=last).defer("traceback") if ids else ()
    return {attempt.delivery_id: attempt for attempt in found}
