"""Save one object very often: ``python -m benchmarks.storm``.

A coalescing receiver gets every save, while a worker runs. Shows how often it ran, and
what the first and the last sends cost, in many transactions and in a single one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

from benchmarks import report
from benchmarks.load import Meter
from benchmarks.roster import OURS
from benchmarks.seat import BenchmarkError, Seat
from benchmarks.stand import Stand

#: Longest time that a storm may take (seconds).
PATIENCE = 3600.0
HEADS = (
    "transactions of",
    "seconds",
    "runs",
    "sends merged",
    "save: first, last us",
    "send: first, last us",
    "others",
)


def main() -> None:
    """Measure; prints Markdown."""
    options = _options()
    rows = []
    with Stand() as stand:
        seat = stand.seat(OURS)
        seat.start()
        seat.warm_up(["atomic"])
        for saves in (int(text) for text in options.per_transaction.split(",")):
            rows.append(_storm(seat, options.saves, saves))
            print(rows[-1], flush=True)
    print(report.table(HEADS, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=50_000)
    parser.add_argument("--per-transaction", default="100,50000")
    return parser.parse_args()


def _storm(seat: Seat, saves: int, per_transaction: int) -> tuple[str, ...]:
    """Run a storm; return a row of the table."""
    seat.thaw()
    seat.reset()
    meter = Meter.start()
    probe = seat.start_probe("storm", events=saves, block=per_transaction)
    output, _ = probe.communicate(timeout=PATIENCE)
    if probe.returncode:
        raise BenchmarkError("the probe has failed")
    found: Mapping[str, Any] = json.loads(output)
    _wait_until_finished(seat)
    load = meter.stop()
    runs, merged = _deliveries(seat)
    ran = [number for number, _ in seat.marks.read("newest")]
    if len(ran) != runs or ran[-1] != saves or runs + merged != saves:
        raise BenchmarkError(f"{len(ran)} of {runs} ran, {merged} merged: {ran[-1:]}")
    return (
        f"{per_transaction:,}",
        f"{found['seconds']:.0f}",
        f"{runs:,}",
        f"{merged:,}",
        f"{found['save'][0]:,.0f}, {found['save'][1]:,.0f}",
        f"{found['send'][0]:,.0f}, {found['send'][1]:,.0f}",
        f"{100 * load.foreign_share:.0f} %",
    )


def _wait_until_finished(seat: Seat) -> None:
    until = time.monotonic() + 120
    while seat.unfinished():
        if time.monotonic() > until:
            raise BenchmarkError("something is unfinished")
        time.sleep(0.1)


def _deliveries(seat: Seat) -> tuple[int, int]:
    """Return how many deliveries have succeeded, and how many sends they merged."""
    (row,) = seat.sql.execute(
        "SELECT count(*), sum(merged) FROM signal_tasks_delivery"
        " WHERE state = 'succeeded'"
    ).fetchall()
    return int(row[0]), int(row[1])


if __name__ == "__main__":
    main()
