"""A callable that is told of problems, in whichever process has the turn."""

from __future__ import annotations

from signal_tasks import Alert
from tests.testapp.marks import mark


def note(alert: Alert) -> None:
    """Leave a mark."""
    mark("alerts", f"{'over' if alert.is_over else 'new'}:{alert.kind}")
