"""Compare one hot key with deliveries that have none: ``python -m benchmarks.hot``.

One key runs in one process at a time, so the rate without order of a worker with one
process is its ceiling. Kinds and workers alternate; the ratios are those of the medians.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

from benchmarks import report
from benchmarks.measures.drain import drain, rest
from benchmarks.roster import OURS, celery
from benchmarks.seat import Seat
from benchmarks.stand import Stand

#: Processes of a worker, and what it runs.
PAIRS = (
    (1, "atomic"),
    (1, "hot"),
    (1, "outside"),
    (1, "hot_outside"),
    (2, "atomic"),
    (2, "hot"),
    (2, "keyed"),
)
KINDS = {
    "atomic": "no order",
    "hot": "one key",
    "keyed": "10,000 keys",
    "outside": "no order, `atomic=False`",
    "hot_outside": "one key, `atomic=False`",
}
FIGURES = ("events/s", "CPU us/event", "workers us/event", "PostgreSQL us/event")
Found = dict[tuple[int, str], list[dict[str, float]]]


def main() -> None:
    """Measure; prints Markdown."""
    options = _options()
    found: Found = {pair: [] for pair in PAIRS}
    with Stand() as stand:
        seats = {number: _seat(stand, number) for number in (1, 2)}
        for _ in range(options.repeat):
            for processes, kind in PAIRS:
                seat = seats[processes]
                figures, load = drain(seat, kind, options.events)
                rest(seat)
                figures["others"] = 100 * load.foreign_share
                found[processes, kind].append(figures)
                print(processes, kind, figures, flush=True)
    print(_table(found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


def _seat(stand: Stand, processes: int) -> Seat:
    workers = (celery(processes=processes),)
    seat = stand.seat(replace(OURS, workers=workers), f"_{processes}")
    seat.start()
    seat.warm_up([kind for number, kind in PAIRS if number == processes])
    return seat


def _table(found: Found) -> str:
    names = (*FIGURES, "others")
    rows = [
        (
            str(processes),
            KINDS[kind],
            *(f"{_median(found[processes, kind], name):,.0f}" for name in names),
        )
        for processes, kind in PAIRS
    ]
    return report.table(("processes", "deliveries", *FIGURES, "others, %"), rows)


def _median(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(figures[name] for figures in runs)


if __name__ == "__main__":
    main()
