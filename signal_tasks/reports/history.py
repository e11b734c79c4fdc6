"""Throughput, failures and times of the last hour, day or week, from counted rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from signal_tasks.models import History
from signal_tasks.models.history import ALL, HOUR, MINUTE, RUN, SECONDS, WAIT

#: Width and height of the picture.
WIDTH, HEIGHT = 1000, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time that a page looks back, in rows of so many seconds."""

    name: str
    words: str
    seconds: int
    step: int


SPANS = {
    span.name: span
    for span in (
        Span(name="1h", words="the last hour", seconds=3600, step=MINUTE),
        Span(name="24h", words="the last 24 hours", seconds=86400, step=HOUR),
        Span(name="7d", words="the last 7 days", seconds=7 * 86400, step=HOUR),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One minute or hour in a picture; numbers are texts that no locale changes."""

    x: str
    width: str
    y: str
    height: str
    bad_y: str
    bad_height: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Attempts per minute or hour, failed ones in another colour.

    ``most`` is the highest number of them in one; 0 if there was none at all.
    """

    columns: Sequence[Column]
    span: Span
    most: int
    width: str = str(WIDTH)
    height: str = str(HEIGHT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of one receiver, or of all.

    Attributes:
        succeeded: deliveries that succeeded.
        failed: attempts that failed, retried or for good.
        per_minute: successes a minute.
        wait: seconds from due to start that 50 and 95 % do not exceed, as text.
        run: the same of the run of a receiver.
    """

    succeeded: int = 0
    failed: int = 0
    per_minute: float = 0.0
    wait: tuple[str, str] = ("", "")
    run: tuple[str, str] = ("", "")

    @property
    def failure_rate(self) -> float:
        """Failed attempts in percent of all."""
        every = self.succeeded + self.failed
        return 100.0 * self.failed / every if every else 0.0


def span_of(query: Mapping[str, Any]) -> Span:
    """Return the span that a URL names; the last hour, if it names none."""
    return SPANS.get(str(query.get("span", "")), SPANS["1h"])


def figures(database: str, span: Span) -> dict[str, Figures]:
    """Return the figures of each receiver, and of ALL; one statement.

    It reads a row for each receiver and minute or hour of the span.
    """
    sums: Any = _rows(database, span).values("receiver").order_by("receiver")
    summed = sums.annotate(**{f"sum_{name}": Sum(name) for name in SUMMED})
    return {row["receiver"]: _figures(row, span) for row in summed}


def figures_of(database: str, receiver: str, span: Span) -> Figures:
    """Return the figures of one receiver; one statement."""
    rows = _rows(database, span).filter(receiver=receiver)
    row = rows.aggregate(**{f"sum_{name}": Sum(name) for name in SUMMED})
    return _figures(row, span)


def chart(database: str, span: Span, receiver: str = ALL) -> Chart:
    """Return the picture of one receiver, or of all; one statement."""
    rows: Any = _rows(database, span).filter(receiver=receiver)
    counted = rows.values_list("start", "succeeded", "retried", "dead")
    found = {start: (done, retried + dead) for start, done, retried, dead in counted}
    first = (_first(span) // span.step) * span.step
    number = span.seconds // span.step + 1
    most = max([sum(each) for each in found.values()] + [0])
    columns = [
        _column(index, number, found.get(first + index * span.step, (0, 0)), most or 1)
        for index in range(number)
    ]
    return Chart(columns=columns, span=span, most=most)


SUMMED = ("succeeded", "retried", "dead", *WAIT, *RUN)


def _rows(database: str, span: Span) -> Any:
    return History.objects.using(database).filter(
        step=span.step, start__gte=_first(span) - span.step
    )


def _first(span: Span) -> int:
    return int(time.time()) - span.seconds


def _figures(row: Mapping[str, Any], span: Span) -> Figures:
    counts = {name: row[f"sum_{name}"] or 0 for name in SUMMED}
    return Figures(
        succeeded=counts["succeeded"],
        failed=counts["retried"] + counts["dead"],
        per_minute=counts["succeeded"] * 60 / span.seconds,
        wait=_percentiles([counts[name] for name in WAIT]),
        run=_percentiles([counts[name] for name in RUN]),
    )


def _percentiles(bins: Sequence[int]) -> tuple[str, str]:
    return _percentile(bins, 0.5), _percentile(bins, 0.95)


def _percentile(bins: Sequence[int], part: float) -> str:
    """Return the upper bound of the bin that so many are in or below, as text."""
    wanted, seen = part * sum(bins), 0
    if not wanted:
        return ""
    for number, bound in zip(bins, SECONDS, strict=False):
        seen += number
        if seen >= wanted:
            return f"\u2264 {_duration(bound)}"
    return f"> {_duration(SECONDS[-1])}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def _column(index: int, number: int, found: tuple[int, int], most: int) -> Column:
    done, failed = found
    width = WIDTH / number
    scale = HEIGHT / most
    height, bad = done * scale, failed * scale
    return Column(
        x=f"{index * width:.1f}",
        width=f"{max(width - 1, 0.5):.1f}",
        y=f"{HEIGHT - height:.1f}",
        height=f"{height:.1f}",
        bad_y=f"{HEIGHT - height - bad:.1f}",
        bad_height=f"{bad:.1f}",
        title=f"{done} succeeded, {failed} failed",
    )
