"""Compare one hot key with deliveries that have none: ``python -m benchmarks.hot``.

One key runs in one process at a time, so the rate without order of a worker with one
process is its ceiling: most of it is the effect of the receiver, an UPDATE of the ORM, so
it is also measured without one. A send under a key takes longer, so that fewer of them
are published in a message; ten thousand keys are therefore compared where all messages
are alike, with one delivery each, and with about twenty. Kinds and workers alternate; a
ratio is the median of those within each round. ``--write`` puts the table into
``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from typing import NamedTuple

from benchmarks import report
from benchmarks.measures.drain import drain, rest
from benchmarks.roster import OURS, celery
from benchmarks.seat import Seat
from benchmarks.stand import Stand


class Case(NamedTuple):
    """Processes of a worker, what it runs, and how many are sent together."""

    processes: int
    kind: str
    together: int = 0


CASES = (
    Case(1, "atomic"),
    Case(1, "hot"),
    Case(1, "light"),
    Case(1, "hot_light"),
    Case(1, "outside"),
    Case(1, "hot_outside"),
    Case(2, "atomic"),
    Case(2, "hot"),
    Case(2, "keyed"),
    Case(2, "atomic", 1),
    Case(2, "keyed", 1),
    Case(2, "atomic", 20),
    Case(2, "keyed", 20),
)
KINDS = {
    "atomic": "no order",
    "hot": "one key",
    "keyed": "10,000 keys",
    "light": "no order, no effect in the database",
    "hot_light": "one key, no effect in the database",
    "outside": "no order, `atomic=False`",
    "hot_outside": "one key, `atomic=False`",
}
#: The kind without order that each is compared with.
BASES = {
    "hot": "atomic",
    "keyed": "atomic",
    "hot_light": "light",
    "hot_outside": "outside",
}
RATE, CPU = "events/s", "CPU us/event"
HEAD = (
    "processes",
    "deliveries",
    "sent together",
    RATE,
    "of the rate without order",
    CPU,
    "of the CPU without order",
    "others, %",
)
Found = dict[Case, list[dict[str, float]]]


def main() -> None:
    """Measure; prints Markdown."""
    options = _options()
    found: Found = {case: [] for case in CASES}
    with Stand() as stand:
        seats = {number: _seat(stand, number) for number in (1, 2)}
        for _ in range(options.repeat):
            for case in CASES:
                seat = seats[case.processes]
                figures, load = drain(
                    seat, case.kind, options.events, together=case.together
                )
                rest(seat)
                figures["others"] = 100 * load.foreign_share
                found[case].append(figures)
                print(case, figures, flush=True)
    print(_table(found))
    if options.write:
        report.replace(report.HOT, [_table(found)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="docs/performance.md too")
    return parser.parse_args()


def _seat(stand: Stand, processes: int) -> Seat:
    # A broker for each: a frozen worker that waits for a message still gets the next one.
    ours = replace(OURS, workers=(celery(processes=processes),), redis=10 + processes)
    seat = stand.seat(ours, f"_{processes}")
    seat.start()
    seat.warm_up({case.kind for case in CASES if case.processes == processes})
    return seat


def _table(found: Found) -> str:
    rows = []
    for case, runs in found.items():
        bases = found.get(case._replace(kind=BASES.get(case.kind, "")), [])
        rows.append(
            (
                str(case.processes),
                KINDS[case.kind],
                str(case.together or "as they come"),
                f"{_median(runs, RATE):,.0f}",
                _ratio(runs, bases, RATE),
                f"{_median(runs, CPU):,.0f}",
                _ratio(runs, bases, CPU),
                f"{_median(runs, 'others'):.0f}",
            )
        )
    return report.table(HEAD, rows)


def _median(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(figures[name] for figures in runs)


def _ratio(
    runs: list[dict[str, float]], bases: list[dict[str, float]], name: str
) -> str:
    """Return the median of the ratios of each round, with the lowest and highest."""
    ratios = [run[name] / base[name] for run, base in zip(runs, bases, strict=False)]
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"


if __name__ == "__main__":
    main()
