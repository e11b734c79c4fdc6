"""Tell where the CPU time is used: ``python -m benchmarks.profile``.

py-spy samples the workers during a drain and a producer while it sends; the CPU that
they used is divided by these samples. PostgreSQL logs its statements during another
drain. Details are printed; ``--write`` puts the tables into ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from benchmarks import report, stacks, statements
from benchmarks.load import cpu_of, family
from benchmarks.measures.drain import drain, rest
from benchmarks.roster import CONTENDERS
from benchmarks.seat import Seat
from benchmarks.stand import Stand

Owners = Counter[str]


def main() -> None:
    """Profile contenders; prints Markdown."""
    options = _options()
    drains: dict[str, Owners] = {}
    sends: dict[str, Owners] = {}
    with Stand() as stand:
        for name in options.contenders.split(","):
            seat = stand.seat(CONTENDERS[name])
            seat.start()
            seat.warm_up([options.kind])
            drains[name] = _drain(seat, options.kind, options.events)
            sends[name] = _send(seat, options.kind, options.events)
            statements.show(seat, options.kind, options.events)
            seat.stop()
    tables = [_table("drain, workers and servers", drains), _table("send", sends)]
    print("\n\n".join(tables))
    if options.write:
        report.replace(report.PROFILE, tables)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contenders", default="reference,ours")
    parser.add_argument("--kind", default="atomic")
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--write", action="store_true", help="docs/performance.md too")
    return parser.parse_args()


def _drain(seat: Seat, kind: str, events: int) -> Owners:
    """Sample all processes of the workers; return microseconds per event by owner."""
    processes = [p for worker in seat.workers for p in family(worker.pid)]
    spies: dict[int, tuple[subprocess.Popen[bytes], Path]] = {}
    before: dict[int, float] = {}
    servers = seat.cpu()

    def begin() -> None:
        for process in processes:
            path = seat.stand.folder / f"{process.pid}.stacks"
            spies[process.pid] = stacks.spy(process.pid, path), path
            before[process.pid] = cpu_of(process)
        servers.update(seat.cpu())
        time.sleep(1.0)

    figures, _ = drain(seat, kind, events, before=begin)
    print(f"\n## {seat.contender.title}, drain of {kind}: {figures}\n")
    used = {p.pid: cpu_of(p) - before[p.pid] for p in processes}
    owners = Counter(
        {
            f"{name} (server)": 1e6 * (seconds - servers[name]) / events
            for name, seconds in seat.cpu().items()
            if name != "workers"
        }
    )
    for pid, (program, path) in spies.items():
        owners += _by_owner(program, path, 1e6 * used[pid] / events)
    rest(seat)
    return owners


def _send(seat: Seat, kind: str, events: int) -> Owners:
    """Sample a producer while it sends; return microseconds per event by owner."""
    seat.reset()
    probe = seat.start_probe("fill", events=events, kind=kind)
    while seat.sql.execute("SELECT 1 FROM bench_order LIMIT 1").fetchone() is None:
        time.sleep(0.01)
    before, started = cpu_of(family(probe.pid)[0]), _orders(seat)
    path = seat.stand.folder / f"{probe.pid}.stacks"
    program = stacks.spy(probe.pid, path)
    while _orders(seat) < events * 0.95:
        time.sleep(0.05)
    used, sent = cpu_of(family(probe.pid)[0]) - before, _orders(seat) - started
    print(f"\n## {seat.contender.title}, order and send of {kind}\n")
    owners = _by_owner(program, path, 1e6 * used / sent)
    probe.communicate()
    seat.discard()
    return owners


def _orders(seat: Seat) -> int:
    ((rows,),) = seat.sql.execute("SELECT count(*) FROM bench_order").fetchall()
    return int(rows)


def _by_owner(program: subprocess.Popen[bytes], path: Path, used: float) -> Owners:
    """Stop a sampler; return microseconds per event by owner."""
    program.send_signal(signal.SIGINT)
    program.wait(60)
    found = stacks.read(path)
    print(f"### {used:.0f} us of CPU per event\n")
    for part in ("signal_tasks/", "benchmarks/", "celery/", "django/db"):
        for name, share in stacks.inclusive(found, part, 14):
            print(f"    {100 * share:5.1f} %  {share * used:6.0f} us  {name}")
        print()
    return Counter({name: s * used for name, s in stacks.shares(found).items()})


def _table(title: str, columns: dict[str, Owners]) -> str:
    """Return a table of microseconds by owner, one column per contender."""
    names = sorted(
        {name for owners in columns.values() for name in owners},
        key=lambda name: -max(owners[name] for owners in columns.values()),
    )
    rows = [
        (name, *(f"{owners[name]:,.0f}" for owners in columns.values()))
        for name in names
    ]
    rows.append(("all", *(f"{owners.total():,.0f}" for owners in columns.values())))
    heads = [CONTENDERS[name].title for name in columns]
    return report.table((f"{title}: us of CPU per event", *heads), rows)


if __name__ == "__main__":
    main()
