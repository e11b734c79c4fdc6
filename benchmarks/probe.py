"""Runs in a contender's environment: places orders, and times what a send adds.

Started by the harness as ``python -m benchmarks.probe <command> ...``; prints one
JSON object.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
import io
import json
import operator
import os
import pstats
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import Any


def _setup() -> Any:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.project.settings"
    import django

    django.setup()
    return importlib.import_module(
        f"benchmarks.contenders.{os.environ['BENCH_CONTENDER']}.side"
    )


def prepare(_: argparse.Namespace) -> dict[str, Any]:
    """Create the tables."""
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)
    return {}


def fill(options: argparse.Namespace) -> dict[str, Any]:
    """Place orders one by one, each with its event, as fast as possible.

    Or so many ``together`` in a transaction, which is published before the next one
    begins: then the sizes of messages do not depend on the speed of a send.
    """
    started = time.monotonic()
    for first in range(0, options.events, options.together or 1):
        _place_together(first, options)
        if options.together:
            side.flush()
    side.flush()
    return {"seconds": time.monotonic() - started}


def _place_together(first: int, options: argparse.Namespace) -> None:
    from django.db import transaction

    after = min(first + (options.together or 1), options.events)
    with transaction.atomic() if options.together > 1 else nullcontext():
        for number in range(first, after):
            _place(number, options.kind)


def one(options: argparse.Namespace) -> dict[str, Any]:
    """Send one event about an order that need not exist."""
    side.send(options.kind, options.order, options.stock)
    side.flush()
    return {}


def steady(options: argparse.Namespace) -> dict[str, Any]:
    """Place orders at a steady rate; each commit leaves a mark."""
    started = time.monotonic()
    for number in range(options.events):
        due = started + number / options.rate
        time.sleep(max(0.0, due - time.monotonic()))
        _place(number, options.kind, marked=True)
    side.flush()
    return {"seconds": time.monotonic() - started}


def flow(options: argparse.Namespace) -> dict[str, Any]:
    """Place orders as fast as possible, at most a window ahead of the receivers.

    One of several producers, which are assumed to be equally fast.
    """
    number, until = 0, time.monotonic() + options.seconds
    while time.monotonic() < until:
        while options.producers * number - _ran() >= options.window:
            time.sleep(0.005)
        for _ in range(10):
            _place(number, options.kind)
            number += 1
    side.flush()
    return {"events": number}


def storm(options: argparse.Namespace) -> dict[str, Any]:
    """Save one row again and again, a block in a transaction; each save is sent.

    Return the medians of the first thousand and of the last, for saves and for sends.
    """
    from django.db import transaction

    from benchmarks.project.models import Stock

    stock = Stock.objects.get(pk=1)
    took: dict[str, list[float]] = {"save": [], "send": []}
    started = time.monotonic()
    for first in range(0, options.events, options.block):
        with transaction.atomic():
            for number in range(first, min(first + options.block, options.events)):
                stock.taken = number + 1
                took["save"].append(_seconds(stock.save))
                send = partial(side.send, "storm", stock.taken, stock.pk)
                took["send"].append(_seconds(send))
    side.flush()
    ends = {name: (times[:1000], times[-1000:]) for name, times in took.items()}
    medians = {
        name: [1e6 * statistics.median(some) for some in both]
        for name, both in ends.items()
    }
    return {"seconds": time.monotonic() - started, **medians}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cost(options: argparse.Namespace) -> dict[str, Any]:
    """Time transactions with and without a send, in alternating blocks.

    The addition is the median over neighbouring blocks: the speed of the disk and the
    machine varies over time, by as much as a send costs.
    """
    numbers = count()
    kinds: list[str | None] = [None, *options.kinds.split(",")]
    seconds: dict[str, list[float]] = {str(kind): [] for kind in kinds}
    for _ in range(options.blocks + 1):
        for kind in kinds:
            seconds[str(kind)].append(_block(kind, options.events, numbers))
    base = seconds.pop("None")[1:]
    added = {
        kind: 1e6 * statistics.median(map(operator.sub, took[1:], base))
        for kind, took in seconds.items()
    }
    return {"base_us": 1e6 * statistics.median(base), "added_us": added}


def profile(options: argparse.Namespace) -> dict[str, Any]:
    """Profile the sending thread."""
    for number in range(200):
        _place(number, options.kind)
    profiler = cProfile.Profile()
    profiler.enable()
    for number in range(options.events):
        _place(number, options.kind)
    profiler.disable()
    text = io.StringIO()
    found = pstats.Stats(profiler, stream=text).strip_dirs()
    found.sort_stats("cumulative").print_stats(90)
    found.sort_stats("tottime").print_stats(40)
    return {"text": text.getvalue()}


def _block(kind: str | None, events: int, numbers: Iterator[int]) -> float:
    """Return the mean time of a transaction, without the slowest, which waited for the disk."""
    times = []
    for _ in range(events):
        started = time.perf_counter()
        _place(next(numbers), kind)
        times.append(time.perf_counter() - started)
    side.flush()
    kept = sorted(times)[: max(1, round(0.95 * len(times)))]
    return statistics.fmean(kept)


def many(options: argparse.Namespace) -> dict[str, Any]:
    """Time the insert of many orders at once with and without their events."""
    took: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.blocks + 1):
        for sends in took:
            took[sends].append(_place_many(options.events, sends=sends))
    added = statistics.median(map(operator.sub, took[True][1:], took[False][1:]))
    return {"added_us": {"many": 1e6 * added / options.events}}


def _place(number: int, kind: str | None, *, marked: bool = False) -> None:
    from django.db import transaction

    from benchmarks.project.models import ROWS, Order
    from benchmarks.project.work import mark

    stock_id = number % ROWS + 1
    with transaction.atomic():
        order = Order.objects.create(stock_id=stock_id)
        if marked:  # the first hook: runs right after the commit
            transaction.on_commit(lambda: mark("committed", order.pk))
        if kind is not None:
            side.send(kind, order.pk, stock_id)


def _place_many(events: int, *, sends: bool) -> float:
    from django.db import transaction

    from benchmarks.project.models import ROWS, Order

    orders = [Order(stock_id=number % ROWS + 1) for number in range(events)]
    started = time.perf_counter()
    with transaction.atomic():
        Order.objects.bulk_create(orders)
        if sends:
            side.send_many((order.pk, order.stock_id) for order in orders)
    took = time.perf_counter() - started
    side.flush()
    return took


def _ran() -> int:
    from benchmarks.project.work import MARK

    with os.scandir(os.environ["BENCH_MARKS"]) as files:
        sizes = [f.stat().st_size for f in files if f.name.startswith("ran.")]
    return sum(sizes) // MARK.size


COMMANDS = {
    command.__name__: command
    for command in (prepare, fill, one, steady, flow, storm, cost, many, profile)
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--kind", default="atomic")
    parser.add_argument("--kinds", default="atomic")
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--block", type=int, default=100)
    parser.add_argument("--together", type=int, default=0)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--order", type=int)
    parser.add_argument("--stock", type=int)
    parser.add_argument("--window", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--producers", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    side = _setup()
    given = _options()
    json.dump(COMMANDS[given.command](given), sys.stdout)
