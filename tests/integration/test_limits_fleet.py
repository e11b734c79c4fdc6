"""Limits and breakers of real workers, on several hosts and killed at any time."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from signal_tasks import operations
from signal_tasks.models import Delivery
from signal_tasks.states import Breaker
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    eventually,
    python,
    runs,
    states,
)
from tests.servers import RedisServer
from tests.testapp.marks import folder
from tests.testapp.models import Effect
from tests.testapp.receivers import NARROW_AFTER, NARROW_BEFORE, send_mail
from tests.testapp.signals import mailed, narrow, paced

#: What ``paced`` is limited to, per second, and what "by one block" may add.
RATE, BLOCK = 10.0, 10.0
MINUTE = 60.0
#: Deliveries for the two places; and some that old and new code send each.
NARROW = 150
ITEMS = [{"key": key, "seconds": 0.2} for key in range(40)]


@pytest.mark.timeout(150)
def test_four_workers_of_two_hosts_keep_the_rate_together(
    start_worker: StartWorker, settings: Any
) -> None:
    for number in range(4):
        host = ("north", "south")[number % 2]
        start_worker("-c", "1", "-n", f"w{number}@{host}", TEST_RELAY_INTERVAL="1")
    paced.send_many(sender=None, items=[{"key": key} for key in range(1000)])
    eventually(lambda: runs("paced"))
    first = min(run.at for run in runs("paced"))
    eventually(lambda: time.time() > first + MINUTE + 1, seconds=70)
    times = sorted(run.at - first for run in runs("paced"))
    assert len({run.pid for run in runs("paced")}) == 4
    in_a_minute = sum(at < MINUTE for at in times)
    print(f"{in_a_minute} in a minute; most in 10 s: {most_in(times, 10.0)}")
    assert abs(in_a_minute - RATE * MINUTE) <= 0.05 * RATE * MINUTE
    assert most_in(times, 10.0) <= RATE * 10 + BLOCK


def most_in(times: list[float], seconds: float) -> int:
    """Return the largest number of these times in any window of so many seconds."""
    return max(
        sum(begin <= at < begin + seconds for at in times[place:])
        for place, begin in enumerate(times)
    )


def test_no_more_run_at_a_time_than_there_are_places_though_workers_are_killed(
    start_worker: StartWorker,
) -> None:
    def start() -> CeleryWorker:
        ttl = {"WORKER_TTL": 3}
        return start_worker("-c", "2", SIGNAL_TASKS=ttl, TEST_LEASE="20")

    workers = [start() for _ in range(2)]
    items = [{"key": key, "seconds": 0.3} for key in range(NARROW)]
    narrow.send_many(sender=None, items=items)
    killed: dict[int, float] = {}
    for _ in range(3):
        wait_for_more_than(started() + 4)
        worker = workers.pop(0)
        pids = worker.children()
        worker.kill()
        killed |= dict.fromkeys(pids, time.time())
        workers.append(start())
    eventually(all_finished, seconds=90)
    assert states() == {"succeeded": NARROW}
    assert most_at_a_time(killed) == 2


def test_no_more_run_at_a_time_while_a_deploy_renames_their_receiver(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    older = start_worker("-c", "2")
    newer = start_worker("-c", "2", TEST_RENAMED="1")
    narrow.send_many(sender=None, items=ITEMS)
    eventually(lambda: all(busy() & {*each.children()} for each in (older, newer)))
    older.send(signal.SIGTERM)
    older.wait()
    send = f"from tests.testapp.signals import narrow; narrow.send_many(None, {ITEMS})"
    python(send, redis.url, TEST_RENAMED="1").check_returncode()
    eventually(all_finished, seconds=60)
    assert states() == {"succeeded": 2 * len(ITEMS)}
    names = Delivery.objects.values_list("receiver", flat=True)
    assert set(names) == {NARROW_BEFORE, NARROW_AFTER}
    assert most_at_a_time({}) == 2


def busy() -> set[int]:
    """Return the processes that have run something."""
    return {int(pid) for pid in Effect.objects.values_list("worker", flat=True)}


def wait_for_more_than(number: int) -> None:
    eventually(lambda: started() > number)


def started() -> int:
    return Effect.objects.filter(what="start").count()


def most_at_a_time(killed: dict[int, float]) -> int:
    """Return how many ran at a time at most; who was killed, ran until then."""
    changes: list[tuple[float, int]] = []
    for start, end in spans(killed):
        changes += [(start, 1), (end, -1)]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def spans(killed: dict[int, float]) -> Iterator[tuple[float, float]]:
    """Yield when each run has started and ended."""
    rows = Effect.objects.filter(what__in=("start", "end")).order_by("at", "pk")
    by_process: dict[str, list[Effect]] = {}
    for row in rows:
        by_process.setdefault(row.worker, []).append(row)
    for pid, effects in by_process.items():
        for one, following in pairwise([*effects, None]):
            if one is None or one.what == "end":
                continue
            if following is not None:
                assert (following.what, following.key) == ("end", one.key)
                yield one.at.timestamp(), following.at.timestamp()
            else:
                yield one.at.timestamp(), killed[int(pid)]


@pytest.mark.timeout(240)
def test_an_outage_of_the_mail_server_leaves_no_dead_letters_and_drains_by_itself(
    start_worker: StartWorker,
) -> None:
    number = 2000
    for _ in range(2):
        start_worker("-c", "2", TEST_RELAY_INTERVAL="1", TEST_REPUBLISH_AFTER="5")
    outage = folder() / "mail server is down"
    outage.touch()
    mailed.send_many(sender=None, items=[{"key": key} for key in range(number)])
    eventually(lambda: Breaker.OPEN in breaker_states())
    begun = time.monotonic()
    seen: set[str] = set()
    while time.monotonic() < begun + 8:
        seen |= breaker_states()
        time.sleep(0.05)
    assert seen == {Breaker.OPEN, Breaker.HALF_OPEN}
    assert states().get("dead", 0) == 0
    spent = Counter(Delivery.objects.values_list("attempts", flat=True))
    assert spent[0] >= number - 20
    outage.unlink()
    eventually(all_finished, seconds=120)
    assert states() == {"succeeded": number}
    assert len(runs("mailed")) == number
    assert breaker_states() == {Breaker.CLOSED}


def breaker_states() -> set[str]:
    name = f"{send_mail.__module__}.{send_mail.__qualname__}"
    return {each.state for each in operations.breakers() if each.receiver == name}
