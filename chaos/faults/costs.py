"""P8 and the large numbers: what it costs the request, and what does not grow."""

from __future__ import annotations

import time
from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import fault
from chaos.faults.receivers import resident
from chaos.models import Effect
from chaos.request_cost import MAX_EXIT, Web, measure
from chaos.signals import counted, doomed
from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery
from signal_tasks.sending import BoundSignal

#: A median may differ so much from the healthy one, and a p99 by so many ms.
TOLERANCE, OUTLIERS = 0.10, 5.0
TRIES = 3
OWED, GOOD, DOOMED = 200_000, 10_000, 100_000
BATCH, SPREAD = 5000, 100
#: How much a process may grow while it works off the second half.
GROWTH = 1.10


@fault(
    "the broker is healthy, refuses, hangs, is slow: what requests cost",
    mixed=False,
    short=False,
)
def request_cost(env: Environment) -> None:
    """P8: the same, within noise; and the process ends in time."""
    env.wait_until_busy()
    env.stop_workers()  # so that the machine is quiet
    env.wait_until(
        lambda: env.workload is None or env.workload.done, "end of workload", 60
    )
    wrong = ""
    for number in range(TRIES):
        folder = env.folder / f"requests-{number}"
        folder.mkdir()
        webs = measure(folder, env.processes.environment)
        wrong = _what_is_wrong(webs)
        if not wrong:
            break
    env.notes += [_in_words(web) for web in webs]
    env.restore()
    if wrong:
        raise PromiseBroken(wrong)


def _what_is_wrong(webs: list[Web]) -> str:
    healthy = webs[0]
    for web in webs:
        if web.touched_by_requests:
            return f"broker {web.broker}: a request touched a socket of the broker"
        if web.median > healthy.median * (1 + TOLERANCE):
            return f"broker {web.broker}: median {web.median:.2f} ms"
        if web.quantile(99) > healthy.quantile(99) + OUTLIERS:
            return f"broker {web.broker}: p99 {web.quantile(99):.2f} ms"
        if web.exit > MAX_EXIT:
            return f"broker {web.broker}: {web.exit:.1f} s to end"
    return ""


def _in_words(web: Web) -> str:
    return (
        f"broker {web.broker}: median {web.median:.2f} ms, p90 {web.quantile(90):.2f}, "
        f"p99 {web.quantile(99):.2f}, longest {max(web.durations) * 1000:.1f} ms of "
        f"{len(web.durations)} transactions; the process ended in {web.exit:.2f} s"
    )


@fault(f"{OWED:,} owed deliveries", mixed=False, only_by_name=True)
def volume(env: Environment) -> None:
    """Drained by two workers, whose memory does not grow."""
    env.wait_until_busy()
    env.wait_until(
        lambda: env.workload is None or env.workload.done, "end of workload", 60
    )
    env.wait_for_deliveries()
    seconds = _sent(counted, "volume", OWED)
    env.notes.append(f"{OWED:,} events sent by send_many in {seconds:.0f} s")
    started = time.monotonic()
    _until_left(env, OWED // 2)
    half = _fattest(env)
    _until_left(env, 0)
    seconds, whole = time.monotonic() - started, _fattest(env)
    env.notes.append(
        f"{OWED / seconds:.0f} deliveries per second; the fattest process had "
        f"{half / 2**20:.0f} MiB at half time and {whole / 2**20:.0f} MiB at the end"
    )
    _expect("volume", OWED)
    if whole > half * GROWTH:
        raise PromiseBroken("a worker grew while it worked off what was owed")


@fault(
    f"{DOOMED:,} that never succeed beside {GOOD:,} that do",
    mixed=False,
    only_by_name=True,
)
def hopeless(env: Environment) -> None:
    """Those that fail again and again do not slow the good ones."""
    env.wait_until_busy()
    env.wait_until(
        lambda: env.workload is None or env.workload.done, "end of workload", 60
    )
    env.wait_for_deliveries()
    alone = _drained(env, "alone")
    _sent(doomed.using(delay=3600), "doomed", DOOMED)
    _have_failed_for_long()
    beside = _drained(env, "beside")
    Delivery.objects.live().discard()
    env.notes.append(
        f"{GOOD:,} good ones took {alone:.1f} s alone and {beside:.1f} s beside "
        f"{DOOMED:,} that fail"
    )
    if beside > alone * 1.25 + 1:
        raise PromiseBroken("the good ones were slowed")


def _sent(signal: AsyncSignal | BoundSignal, prefix: str, events: int) -> float:
    started = time.monotonic()
    for start in range(0, events, BATCH):
        numbers = range(start, min(start + BATCH, events))
        signal.send_many(None, [{"key": f"{prefix}-{n}"} for n in numbers])
    return time.monotonic() - started


def _drained(env: Environment, prefix: str) -> float:
    """How long it took to send and run the good ones."""
    started = time.monotonic()
    _sent(counted, prefix, GOOD)
    _until_left(env, 0)
    _expect(prefix, GOOD)
    return time.monotonic() - started


def _until_left(env: Environment, left: int) -> None:
    owed = Delivery.objects.live().filter(receiver="chaos.receivers.count")
    while owed.count() > left:  # which reads every row: not too often
        env.wait(0.5)


def _have_failed_for_long() -> None:
    """As after hours of failing: a few come due every second."""
    rows = Delivery.objects.live().filter(receiver="chaos.receivers.fail")
    now = timezone.now()
    pks = list(rows.values_list("pk", flat=True))
    for start in range(0, len(pks), SPREAD):
        due = now + timedelta(seconds=3600 * start / len(pks))
        part = Delivery.objects.filter(pk__in=pks[start : start + SPREAD])
        part.update(attempts=F("attempts") + 9, available_at=due, relay_at=due)


def _fattest(env: Environment) -> int:
    pids = [pid for worker in env.workers for pid in (worker.pid, *worker.children())]
    return max(map(resident, pids))


def _expect(prefix: str, events: int) -> None:
    found = Effect.objects.filter(what="counted", key__startswith=f"{prefix}-").count()
    if found != events:
        raise PromiseBroken(f"{found} effects of {events} events")
