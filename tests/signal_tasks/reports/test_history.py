"""Throughput and times as people see them, from what workers have counted."""

from __future__ import annotations

import time

import pytest

from signal_tasks.models import History
from signal_tasks.reports import history

pytestmark = pytest.mark.django_db

HOUR = history.SPANS["1h"]


def counted(**counts: int) -> None:
    """Write counts of t.receiver, and of all, for this minute and this hour."""
    for step in (60, 3600):
        start = int(time.time()) // step * step
        for receiver in ("t.receiver", ""):
            History.objects.create(receiver=receiver, step=step, start=start, **counts)


def test_nothing_that_was_counted_is_nothing() -> None:
    assert history.figures("default", HOUR) == {}
    assert history.figures_of("default", "t.receiver", HOUR) == history.Figures()
    assert all(each.height == "0.0" for each in history.chart("default", HOUR).columns)


@pytest.mark.parametrize("name", history.SPANS)
def test_the_figures_are_of_what_was_counted(name: str) -> None:
    counted(succeeded=90, retried=6, dead=4, wait_0=50, wait_6=50, run_16=1)
    span = history.span_of({"span": name})
    seen = history.figures("default", span)["t.receiver"]
    assert seen == history.figures_of("default", "t.receiver", span)
    assert (seen.succeeded, seen.failed, seen.failure_rate) == (90, 10, 10.0)
    assert seen.wait == ("\u2264 2.5 ms", "\u2264 250 ms")
    assert seen.run == ("> 1 h", "> 1 h")


def test_the_chart_ends_with_now() -> None:
    counted(succeeded=3, dead=1)
    columns = history.chart("default", HOUR, "t.receiver").columns
    assert "3 succeeded, 1 failed" in {each.title for each in columns[-2:]}
    assert {each.title for each in columns[:-2]} == {"0 succeeded, 0 failed"}


def test_a_span_that_does_not_exist_is_the_last_hour() -> None:
    assert history.span_of({"span": "for ever"}) == HOUR
