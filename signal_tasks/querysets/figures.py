"""Find live deliveries, for those who look."""

from __future__ import annotations

from typing import Self

from signal_tasks.querysets.rows import D, DeliveryRows
from signal_tasks.states import LIVE


class Figures(DeliveryRows[D]):
    """Figures of the deliveries; nothing here changes a row."""

    def live(self) -> Self:
        """Return deliveries that are pending or running."""
        return self.filter(state__in=LIVE, next_check_at__isnull=False)
