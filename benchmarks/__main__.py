"""Measure, and print goal, measured and met: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import plan
from benchmarks.figures import GOALS, Results, Sample
from benchmarks.stand import Stand


def main() -> None:
    """Parse, measure, print."""
    options = _options()
    size = plan.QUICK if options.quick else plan.FULL
    if options.repeat:
        size = dataclasses.replace(size, repeat=options.repeat)
    results = Results()
    with _alone(), Stand() as stand:
        for sample in plan.run(stand, options.only.split(","), size):
            results.samples.append(sample)
            print(_line(sample), flush=True)
    print(_summary(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    every = ",".join(plan.GROUPS)
    parser.add_argument("--only", default=every, help=f"of {every}")
    parser.add_argument("--repeat", type=int, help="runs of each measure")
    parser.add_argument("--quick", action="store_true", help="about two minutes")
    return parser.parse_args()


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other benchmark runs on this machine."""
    with (Path(tempfile.gettempdir()) / "signal-tasks-benchmark.lock").open(
        "w"
    ) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another benchmark runs; waiting for its end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _line(sample: Sample) -> str:
    figures = "  ".join(
        f"{name} {value:,.4g}" for name, value in sample.figures.items()
    )
    share = f"others {100 * sample.load.foreign_share:.0f} %"
    mark = " DISTURBED" if sample.load.disturbed else ""
    return f"{sample.measure:<14} {sample.contender:<10} {figures}  ({share}{mark})"


def _summary(results: Results) -> str:
    lines = ["", "medians [lowest-highest]"]
    for contender, measure, figure in results.names():
        median = results.median(contender, measure, figure)
        lines.append(f"  {measure:<14} {contender:<10} {figure:<24} {median}")
    lines += ["", f"{'measure':<46} {'goal':<16} {'measured':<9} met"]
    for goal in GOALS:
        measured = goal.measured(results)
        if measured is not None:
            met = "yes" if goal.met(measured) else "NO"
            value = f"{measured:.3g}{' x' if goal.other else ''}"
            lines.append(f"{goal.title:<46} {goal.wanted():<16} {value:<9} {met}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
