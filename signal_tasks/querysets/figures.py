"""Count live deliveries, for health, telemetry and those who look."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Self

from django.db.models import BooleanField, Count, ExpressionWrapper, Max, Min, Q

from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.querysets.rows import D, DeliveryRows
from signal_tasks.states import LIVE, State


class Figures(DeliveryRows[D]):
    """Figures of the deliveries; nothing here changes a row."""

    def live(self) -> Self:
        """Return deliveries that are pending or running."""
        return self.filter(state__in=LIVE, next_check_at__isnull=False)

    def counts(self) -> list[dict[str, Any]]:
        """Return rows of receiver, state, orphaned, is_parked and ``n``, their number."""
        is_parked = ExpressionWrapper(~Q(parked=""), output_field=BooleanField())
        rows: Any = self.annotate(is_parked=is_parked)
        rows = rows.values("receiver", "state", "orphaned", "is_parked")
        return list(rows.annotate(n=Count("pk")).order_by())

    def parked(self) -> list[dict[str, Any]]:
        """Return rows of receiver, ``n`` parked deliveries, and one of their reasons."""
        rows: Any = self.live().filter(state=State.PENDING).exclude(parked="")
        rows = rows.values("receiver").annotate(n=Count("pk"), reason=Max("parked"))
        return list(rows.order_by("receiver"))

    def waiting(self, names: Collection[str], *, seconds: float) -> dict[str, int]:
        """Return how many deliveries of each receiver have been due for so long."""
        since = from_now(-seconds)
        due = Q(state=State.PENDING, receiver__in=names, available_at__lte=since)
        rows = self.live().filter(due).values("receiver").annotate(n=Count("pk"))
        return dict(rows.order_by("receiver").values_list("receiver", "n"))

    def orphans(self, *, seconds: float) -> dict[str, int]:
        """Return how many orphans of each receiver have been due for so long."""
        old = Q(
            state=State.PENDING, orphaned=True, available_at__lte=from_now(-seconds)
        )
        rows = self.live().filter(old).values("receiver").annotate(n=Count("pk"))
        return dict(rows.order_by("receiver").values_list("receiver", "n"))

    def oldest_due(self) -> datetime | None:
        """Return since when the longest waiting due delivery has been due."""
        due = self.live().filter(state=State.PENDING, available_at__lte=DatabaseNow())
        oldest: datetime | None = due.aggregate(oldest=Min("available_at"))["oldest"]
        return oldest
