"""Where the microseconds go: ``python -m benchmarks.profile``.

py-spy samples a worker's child and its main process during a drain; PostgreSQL logs
its statements during another; cProfile watches a producer that sends.
"""

from __future__ import annotations

import argparse
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from benchmarks import stacks
from benchmarks.load import cpu_of, family
from benchmarks.measures.drain import drain, rest
from benchmarks.roster import CONTENDERS
from benchmarks.stand import Seat, Stand

LINE = re.compile(
    r"(worker|producer)\|LOG:  duration: ([\d.]+) ms  (?:statement|execute \S+): (.*)"
)
VALUES = re.compile(r"'[^']*'(::\w+)?|\b\d+\b")
SAVEPOINTS = re.compile(r'"s\d+_x\d+"')
LISTS = re.compile(r"\((\?(, )?)+\)(, \((\?(, )?)+\))*")


def main() -> None:
    """Profile a contender; prints Markdown."""
    options = _options()
    with Stand() as stand:
        seat = stand.seat(CONTENDERS[options.contender])
        seat.start()
        seat.warm_up([options.kind])
        _workers(seat, options.kind, options.events)
        _statements(seat, options.kind, options.events)
        if not options.drain_only:
            _send(seat)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contender", default="ours", choices=CONTENDERS)
    parser.add_argument("--kind", default="atomic")
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--drain-only", action="store_true")
    return parser.parse_args()


def _workers(seat: Seat, kind: str, events: int) -> None:
    """Sample all processes of the workers; microseconds per event and process."""
    processes = [p for worker in seat.workers for p in family(worker.pid)]
    seat.freeze()
    before = {p.pid: cpu_of(p) for p in processes}
    files = {p.pid: seat.stand.folder / f"{p.pid}.stacks" for p in processes}
    spies: list[subprocess.Popen[bytes]] = []

    def start_spies() -> None:
        spies.extend(_spy(pid, path) for pid, path in files.items())
        time.sleep(1.0)

    figures, _ = drain(seat, kind, events, before=start_spies)
    used = {p.pid: cpu_of(p) - before[p.pid] for p in processes}
    for spy in spies:
        spy.send_signal(signal.SIGINT)
        spy.wait(30)
    rest(seat)
    print(f"## {seat.contender.title}, drain of {kind}: {figures}\n")
    for number, (pid, path) in enumerate(files.items()):
        what = "main process" if not number else f"child {number}"
        print(f"### {what}: {1e6 * used[pid] / events:.0f} us of CPU per event\n")
        _print_stacks(path)


def _spy(pid: int, path: Path) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).with_name("py-spy")
    options = ["-f", "raw", "-r", "150", "-d", "600", "--nonblocking", "-o", str(path)]
    return subprocess.Popen(  # noqa: S603 -- the command is ours
        [program, "record", "-p", str(pid), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _print_stacks(path: Path) -> None:
    if not path.exists():
        print("no samples\n")
        return
    found = stacks.read(path)
    for name, share in stacks.shares(found).items():
        print(f"| {name} | {100 * share:.1f} % |")
    print()
    for part in ("signal_tasks/", "benchmarks/"):
        for name, share in stacks.inclusive(found, part, 30):
            print(f"    {100 * share:5.1f} %  {name}")
    print()


def _statements(seat: Seat, kind: str, events: int) -> None:
    """Statements of a drain by text: how often, how long."""
    with seat.stand.statement_log() as lines:
        drain(seat, kind, events)
        rest(seat)
    for who in ("worker", "producer"):
        print(f"### statements of the {who}, per event\n")
        print("| times | mean ms | us per event | statement |")
        found: dict[str, list[float]] = defaultdict(list)
        for line in lines:
            if (match := LINE.match(line)) and match[1] == who:
                found[_normal(match[3])].append(float(match[2]))
        for sql, took in sorted(found.items(), key=lambda item: -sum(item[1]))[:25]:
            mean, us = statistics.fmean(took), 1000 * sum(took) / events
            print(f"| {len(took) / events:.3f} | {mean:.3f} | {us:.0f} | {sql[:170]} |")
        print()


def _normal(sql: str) -> str:
    """A statement without its values, so that the same ones fall together."""
    return LISTS.sub("(...)", VALUES.sub("?", SAVEPOINTS.sub("savepoint", sql)))


def _send(seat: Seat) -> None:
    seat.reset()
    print("### cProfile of 2,000 orders with a send\n")
    print(seat.probe("profile", events=2000)["text"])


if __name__ == "__main__":
    main()
