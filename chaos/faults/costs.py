"""Measure the cost of a send to the request (P8), and the engine at a large scale."""

from __future__ import annotations

import os
import time
from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from chaos import receivers
from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import fault
from chaos.faults.messages import dotted_name
from chaos.faults.receivers import memory
from chaos.models import Effect
from chaos.request_cost import MAX_EXIT, WebProcess, measure
from chaos.signals import counted, doomed
from signal_tasks import AsyncSignal
from signal_tasks.dispatch.sending import BoundSignal
from signal_tasks.models import Delivery

#: Most that a median (share) and a p99 (ms) may be above the healthy broker's.
MEDIAN_TOLERANCE, P99_TOLERANCE = 0.10, 5.0
TRIES = 3
EVENTS, GOOD, DOOMED = 200_000, 10_000, 100_000
BATCH, SPREAD = 5000, 100
#: Most growth of a process's memory during the second half.
MAX_GROWTH = 1.10


@fault(
    "cost of a request: broker healthy, refusing, hung, slow",
    mixed=False,
    short=False,
)
def request_cost(env: Environment) -> None:
    """Expect the same cost with each broker, and processes that end in time (P8)."""
    env.wait_until_busy()
    env.stop_workers()  # so that the machine is idle
    env.wait_for_workload()
    error = ""
    for number in range(TRIES):
        folder = env.folder / f"requests-{number}"
        folder.mkdir()
        webs = measure(folder, dict(os.environ))
        error = _first_error(webs)
        if not error:
            break
    env.notes += [_described(web) for web in webs]
    env.restore()
    if error:
        raise PromiseBroken(error)


def _first_error(webs: list[WebProcess]) -> str:
    """Return the first expectation that one of the processes did not meet."""
    healthy = webs[0]
    for web in webs:
        if web.used_by_requests:
            return f"broker {web.broker}: a request used a socket of the broker"
        if web.median > healthy.median * (1 + MEDIAN_TOLERANCE):
            return f"broker {web.broker}: median {web.median:.2f} ms"
        if web.quantile(99) > healthy.quantile(99) + P99_TOLERANCE:
            return f"broker {web.broker}: p99 {web.quantile(99):.2f} ms"
        if web.exit > MAX_EXIT:
            return f"broker {web.broker}: {web.exit:.1f} s to end"
    return ""


def _described(web: WebProcess) -> str:
    return (
        f"broker {web.broker}: median {web.median:.2f} ms, p90 {web.quantile(90):.2f}, "
        f"p99 {web.quantile(99):.2f}, longest {max(web.durations) * 1000:.1f} ms of "
        f"{len(web.durations)} transactions; the process ended in {web.exit:.2f} s"
    )


@fault(f"{EVENTS:,} pending deliveries", mixed=False, only_by_name=True)
def volume(env: Environment) -> None:
    """Expect the memory of two workers not to grow while they run all of them."""
    env.wait_until_busy()
    env.wait_for_workload()
    env.wait_for_deliveries()
    seconds = _sent(counted, "volume", EVENTS)
    env.notes.append(f"{EVENTS:,} events sent by send_many in {seconds:.0f} s")
    started = time.monotonic()
    _wait_until_left(env, EVENTS // 2)
    half = _largest(env)
    _wait_until_left(env, 0)
    seconds, whole = time.monotonic() - started, _largest(env)
    env.notes.append(
        f"{EVENTS / seconds:.0f} deliveries per second; the largest process had "
        f"{half / 2**20:.0f} MiB at half time and {whole / 2**20:.0f} MiB at the end"
    )
    _expect("volume", EVENTS)
    if whole > half * MAX_GROWTH:
        raise PromiseBroken("a worker's memory grew while it ran the deliveries")


@fault(
    f"{DOOMED:,} that never succeed beside {GOOD:,} that do",
    mixed=False,
    only_by_name=True,
)
def always_failing(env: Environment) -> None:
    """Expect deliveries that always fail not to slow the others down."""
    env.wait_until_busy()
    env.wait_for_workload()
    env.wait_for_deliveries()
    alone = _drained(env, "isolated")
    _sent(doomed.using(delay=3600), "doomed", DOOMED)
    _age_failures()
    beside = _drained(env, "beside")
    Delivery.objects.live().discard()
    env.notes.append(
        f"{GOOD:,} that succeed took {alone:.1f} s alone and {beside:.1f} s beside "
        f"{DOOMED:,} that fail"
    )
    if beside > alone * 1.25 + 1:
        raise PromiseBroken("the others were slowed down")


def _sent(signal: AsyncSignal | BoundSignal, prefix: str, events: int) -> float:
    started = time.monotonic()
    for start in range(0, events, BATCH):
        numbers = range(start, min(start + BATCH, events))
        signal.send_many(None, [{"key": f"{prefix}-{n}"} for n in numbers])
    return time.monotonic() - started


def _drained(env: Environment, prefix: str) -> float:
    """Send and run the deliveries that succeed; return the seconds that took."""
    started = time.monotonic()
    _sent(counted, prefix, GOOD)
    _wait_until_left(env, 0)
    _expect(prefix, GOOD)
    return time.monotonic() - started


def _wait_until_left(env: Environment, left: int) -> None:
    live = Delivery.objects.live().filter(receiver=dotted_name(receivers.count))
    while live.count() > left:  # reads every row: do not count too often
        env.wait(0.5)


def _age_failures() -> None:
    """Change the rows as hours of failures would: a few are due every second."""
    rows = Delivery.objects.live().filter(receiver=dotted_name(receivers.fail))
    now = timezone.now()
    pks = list(rows.values_list("pk", flat=True))
    for start in range(0, len(pks), SPREAD):
        due = now + timedelta(seconds=3600 * start / len(pks))
        part = Delivery.objects.filter(pk__in=pks[start : start + SPREAD])
        part.update(attempts=F("attempts") + 9, available_at=due, next_check_at=due)


def _largest(env: Environment) -> int:
    pids = [pid for worker in env.workers for pid in (worker.pid, *worker.children())]
    return max(map(memory, pids))


def _expect(prefix: str, events: int) -> None:
    found = Effect.objects.filter(kind="counted", key__startswith=f"{prefix}-").count()
    if found != events:
        raise PromiseBroken(f"{found} effects of {events} events")
