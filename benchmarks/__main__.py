"""Measure, and print each goal and its result: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import plan, report
from benchmarks.figures import Results, Sample
from benchmarks.stand import Stand


def main() -> None:
    """Parse, measure and print; write the document if ``--write`` was given."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("stopped")
    )  # also stops the servers
    options = _options()
    size = plan.QUICK if options.quick else plan.FULL
    if options.repeat:
        size = dataclasses.replace(size, repeat=options.repeat)
    results = Results()
    with _exclusive(), Stand() as stand:
        facts = report.facts(stand, size)
        before = report.load()[0] if options.add else Results()
        for sample in plan.run(stand, _groups(options), size, results):
            print(_line(sample), flush=True)
            report.save(report.beside(before, results), facts)
    results = report.beside(before, results)
    print(report.as_text(results))
    if options.write:
        report.write(results, facts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"of {','.join(plan.GROUPS)}")
    parser.add_argument("--repeat", type=int, help="runs of each measure")
    parser.add_argument("--quick", action="store_true", help="about two minutes")
    parser.add_argument("--add", action="store_true", help="to the last run's results")
    parser.add_argument("--write", action="store_true", help="docs/performance.md too")
    return parser.parse_args()


def _groups(options: argparse.Namespace) -> list[str]:
    if options.only:
        return list(options.only.split(","))
    slow = plan.SLOW if options.quick else plan.EXTRA
    return [group for group in plan.GROUPS if group not in slow]


@contextmanager
def _exclusive() -> Iterator[None]:
    """Wait until no other benchmark runs on this machine."""
    lock = Path(tempfile.gettempdir()) / "signal-tasks-benchmark.lock"
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another benchmark runs; waiting until it has finished", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _line(sample: Sample) -> str:
    figures = "  ".join(
        f"{name} {value:,.4g}" for name, value in sample.figures.items()
    )
    share = f"others {100 * sample.load.foreign_share:.0f} %"
    mark = " DISTURBED" if sample.load.disturbed else ""
    return f"{sample.measure:<14} {sample.contender:<14} {figures}  ({share}{mark})"


if __name__ == "__main__":
    main()
