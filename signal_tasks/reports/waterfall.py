"""Where the time of an event went: a bar for each delivery, as parts of a picture."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from signal_tasks.models import Attempt, Delivery

#: Deliveries that are drawn.
MAX_BARS = 40
#: Width of the picture, the height of one bar's line, and the least width of a mark.
WIDTH, LINE, LEAST = 1000, 22, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A failed attempt in a bar; numbers are texts that no locale changes."""

    x: str
    width: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One delivery, from the send to its finish, or to now."""

    receiver: str
    state: str
    y: str
    width: str
    marks: Sequence[Mark]
    seconds: float
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """The picture; ``seconds`` is how long all of it lasts."""

    bars: Sequence[Bar]
    seconds: float
    is_cut: bool
    width: str = str(WIDTH)

    @property
    def height(self) -> str:
        """The height of the picture."""
        return str(LINE * len(self.bars))


def waterfall(
    sent_at: datetime,
    deliveries: Sequence[Delivery],
    failures: Mapping[uuid.UUID, Sequence[Attempt]],
    now: datetime,
) -> Waterfall:
    """Return the bars of an event's deliveries, all on one scale."""
    drawn = deliveries[:MAX_BARS]
    ends = [each.finished_at or now for each in drawn]
    total = max([(end - sent_at).total_seconds() for end in ends] + [0.001])
    bars = [
        _bar(number, each, failures.get(each.pk, ()), _Scale(sent_at, total, now))
        for number, each in enumerate(drawn)
    ]
    return Waterfall(bars=bars, seconds=total, is_cut=len(deliveries) > MAX_BARS)


@dataclass(frozen=True, slots=True)
class _Scale:
    start: datetime
    seconds: float
    now: datetime

    def x(self, moment: datetime) -> float:
        """Return where a moment is, within the picture."""
        after = (moment - self.start).total_seconds()
        return min(max(after / self.seconds, 0.0), 1.0) * WIDTH


def _bar(
    number: int, delivery: Delivery, failed: Sequence[Attempt], scale: _Scale
) -> Bar:
    end = delivery.finished_at or scale.now
    return Bar(
        receiver=delivery.receiver,
        state=delivery.state,
        y=str(number * LINE + LINE // 4),
        width=f"{max(scale.x(end), LEAST):.1f}",
        marks=list(_marks(failed, scale)),
        seconds=max((end - scale.start).total_seconds(), 0.0),
        is_open=delivery.finished_at is None,
    )


def _marks(failed: Sequence[Attempt], scale: _Scale) -> Iterator[Mark]:
    for attempt in failed:
        begun = attempt.failed_at - timedelta(seconds=attempt.seconds or 0.0)
        x = min(scale.x(begun), WIDTH - LEAST)
        width = max(scale.x(attempt.failed_at) - x, LEAST)
        title = f"run {attempt.run}, attempt {attempt.number}: {attempt.error_type}"
        yield Mark(x=f"{x:.1f}", width=f"{width:.1f}", title=title)
