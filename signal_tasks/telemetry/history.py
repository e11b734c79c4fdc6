"""Read what the workers have done: rates, failures, waits and run times.

Each function reads rows of counts, not deliveries, so its cost depends on the time that
is asked for and not on the number of deliveries: 60 rows for an hour of one receiver,
or of all together. See Note [History] in ``models.history``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import F, Sum
from django.utils import timezone

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.models import History
from signal_tasks.models.history import (
    ALL,
    HOUR,
    KEEP_MINUTES,
    MINUTE,
    RUN,
    SECONDS,
    WAIT,
)

Counts = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The work done in a span of time.

    Attributes:
        start: begin of the span.
        seconds: its length.
        succeeded: attempts whose receiver returned.
        retried: attempts that failed and are followed by another.
        deferred: attempts whose receiver has asked to be run again.
        dead: dead letters.
        skipped: deliveries that were discarded as ``on_missing="skip"`` has it.
        wait: median and 95th percentile of the seconds from the due time to the
            claim; None where nothing was claimed.
        run: the same of the run time of the receiver.
    """

    start: datetime
    seconds: float
    succeeded: int = 0
    retried: int = 0
    deferred: int = 0
    dead: int = 0
    skipped: int = 0
    wait: tuple[float, float] | None = None
    run: tuple[float, float] | None = None

    @property
    def rate(self) -> float:
        """Deliveries that were done in a minute."""
        return (self.succeeded + self.skipped) * 60.0 / self.seconds

    @property
    def failures(self) -> int:
        """Attempts that failed."""
        return self.retried + self.dead

    @property
    def failure_rate(self) -> float:
        """Fraction of the attempts that failed, from 0 to 1."""
        attempts = self.succeeded + self.failures
        return self.failures / attempts if attempts else 0.0


def read(
    receiver: str | None = None,
    *,
    since: datetime,
    step: int = MINUTE,
    until: datetime | None = None,
) -> list[Point]:
    """Return a point for each ``step`` seconds from ``since`` until now, the oldest first.

    Those of a receiver, or of all together, over all outboxes. ``since`` is moved back
    to a multiple of ``step``. Minutes are kept for two days, and hours for
    ``KEEP_HISTORY``: a step of less than an hour shows nothing that is older. One
    statement for each outbox.

    Raises:
        ValueError: ``step`` is no multiple of a minute, or more than an hour and no
            multiple of one.
    """
    span = _Span.of(since, until, step)
    names = [ALL if receiver is None else receiver]
    return span.points(_counts(span, names).get(names[0], {}))


def series(
    receivers: Sequence[str], *, since: datetime, step: int = MINUTE
) -> dict[str, list[Point]]:
    """Return what ``read`` does for several receivers, in one statement an outbox."""
    span = _Span.of(since, None, step)
    counts = _counts(span, receivers)
    return {name: span.points(counts.get(name, {})) for name in receivers}


def summary(*, since: datetime, until: datetime | None = None) -> dict[str, Point]:
    """Return one point for each receiver that did something, over the whole time.

    ``ALL``, the empty name, is the sum of all. One statement for each outbox.
    """
    now = until or timezone.now()
    step = MINUTE if now - since <= KEEP_MINUTES else HOUR
    start, end = _floor(since, step), int(now.timestamp())
    found: dict[str, dict[str, float]] = {}
    for database in outbox_aliases():
        rows = _rows(database, step, start, end).values("receiver").annotate(**_SUMS)
        for row in rows.order_by("receiver"):
            _merge(found.setdefault(row["receiver"], {}), row)
    seconds = max(end - start, 1)
    return {name: _point(start, seconds, counts) for name, counts in found.items()}


def percentile(counts: Sequence[float], share: float) -> float | None:
    """Return the time that this share of what was counted in bins does not exceed.

    Within a bin the times are taken to be spread evenly; what is in the last bin
    counts as its lower bound. None if nothing was counted.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    lower = 0.0
    for upper, number in zip(SECONDS, counts, strict=False):
        if number and rank <= number:
            return lower + (upper - lower) * rank / number
        rank -= number
        lower = upper
    return lower


@dataclass(frozen=True, slots=True)
class _Span:
    """A time that is read: seconds since 1970, of rows of one step."""

    start: int
    end: int
    step: int
    base: int

    @classmethod
    def of(cls, since: datetime, until: datetime | None, step: int) -> _Span:
        base = MINUTE if step < HOUR else HOUR
        if step <= 0 or step % base:
            raise ValueError(
                f"step is {step!r}; give seconds: a multiple of {MINUTE}, "
                f"or of {HOUR} if it is longer than that"
            )
        end = int((until or timezone.now()).timestamp())
        return cls(_floor(since, step), end, step, base)

    def points(self, counts: Mapping[int, Counts]) -> list[Point]:
        """Return a point for each step; those without counts are empty."""
        starts = range(self.start, self.end + 1, self.step)
        return [_point(start, self.step, counts.get(start, {})) for start in starts]


def _counts(span: _Span, receivers: Sequence[str]) -> dict[str, dict[int, Counts]]:
    """Return the counts of each receiver in each step."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for database in outbox_aliases():
        rows = _rows(database, span.base, span.start, span.end)
        for row in _by_step(rows.filter(receiver__in=receivers), span.step):
            counts = found.setdefault(row["receiver"], {})
            _merge(counts.setdefault(row["at"], {}), row)
    return {name: dict(counts) for name, counts in found.items()}


def _by_step(rows: Any, step: int) -> Iterable[dict[str, Any]]:
    at = F("start") - F("start") % step
    return list(rows.values("receiver", at=at).annotate(**_SUMS).order_by())


def _rows(database: str, step: int, start: int, end: int) -> Any:
    rows = History.objects.using(database)
    return rows.filter(step=step, start__gte=start, start__lte=end)


_READ = ("succeeded", "retried", "deferred", "dead", "skipped", *WAIT, *RUN)
_SUMS = {f"sum_{name}": Sum(name) for name in _READ}


def _merge(counts: dict[str, float], row: Mapping[str, Any]) -> None:
    for name in _READ:
        counts[name] = counts.get(name, 0) + int(row[f"sum_{name}"])


def _point(start: int, seconds: int, counts: Counts) -> Point:
    numbers = {
        name: int(counts.get(name, 0))
        for name in ("succeeded", "retried", "deferred", "dead", "skipped")
    }
    return Point(
        start=datetime.fromtimestamp(start, UTC),
        seconds=float(seconds),
        **numbers,
        wait=_percentiles(counts, WAIT),
        run=_percentiles(counts, RUN),
    )


def _percentiles(counts: Counts, bins: Sequence[str]) -> tuple[float, float] | None:
    numbers = [counts.get(name, 0) for name in bins]
    median, high = percentile(numbers, 0.5), percentile(numbers, 0.95)
    return None if median is None or high is None else (median, high)


def _floor(when: datetime, step: int) -> int:
    seconds = int(when.timestamp())
    return seconds - seconds % step
