"""The types of what ``health()`` returns, for those who check types."""

from __future__ import annotations

from typing import TypedDict


class Counts(TypedDict):
    """Numbers of deliveries."""

    pending: int
    retrying: int
    running: int
    succeeded: int
    dead: int
    discarded: int
    orphaned: int
    parked: int


class HealthReport(Counts):
    """The report of ``health()``; the counts are of all receivers together."""

    oldest_pending_age_s: float | None
    workers: list[str]
    rescued: int
    broker_errors: list[str]
    receivers: dict[str, Counts]
    complete: bool
    healthy: bool
    problems: list[str]
