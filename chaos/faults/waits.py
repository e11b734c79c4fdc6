"""P7: messages that wait for long, and consumers that are away for a day."""

from __future__ import annotations

import math
import time
from collections import Counter
from datetime import timedelta

from django.db.models import F, Min
from django.test import override_settings
from django.utils import timezone

from chaos import journal, trace
from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import fault
from signal_tasks.conf import Settings, settings
from signal_tasks.models import Delivery
from signal_tasks.relay import Relay

DAY = timedelta(days=1)
#: How often a delivery may be published besides: at once, and when it is run again.
BESIDES = 2


@fault("every message waits in the broker for ten leases", mixed=False, short=False)
def long_queue(env: Environment) -> None:
    """Nobody consumes for ten leases; all is run then, and few copies are made."""
    env.wait_until_busy()
    started = time.time()
    env.stop_workers()
    relay = env.processes.add_relay()
    waited = 10 * settings().LEASE
    env.wait(waited)
    _check(env, started, _copies_within(waited, settings()))
    env.processes.remove(relay)
    env.restore()


@fault("the consumers are away for a simulated day", mixed=False, short=False)
def away_for_a_day(env: Environment) -> None:
    """The rows age by a day, with the times of a deployment; a real relay publishes."""
    env.wait_until_busy()
    env.stop_workers()
    env.wait_until(
        lambda: env.workload is None or env.workload.done, "end of workload", 60
    )
    started = time.time()
    with override_settings(SIGNAL_TASKS={}), trace.messages_counted():
        _age(Relay("conductor"), DAY)
        _check(env, started, _copies_within(DAY.total_seconds(), settings()))
    Delivery.objects.live().update(relay_at=timezone.now())
    env.restore()


def _age(relay: Relay, age: timedelta) -> None:
    """Let the rows grow older, from one due time to the next, with a pass at each."""
    passed = timedelta()
    while passed < age:
        now = timezone.now()
        due = Delivery.objects.live().aggregate(due=Min("relay_at"))["due"] or now
        step = max(due - now, timedelta()) + timedelta(seconds=1)
        live = Delivery.objects.live()
        live.update(
            relay_at=F("relay_at") - step, available_at=F("available_at") - step
        )
        relay.run_once()
        passed += step


def _check(env: Environment, started: float, most: int) -> None:
    copies = Counter(
        pk
        for line in journal.read(env.folder)
        if line.what == "published" and line.at >= started
        for pk in line.facts["ids"]
    )
    found = max(copies.values(), default=0)
    env.notes.append(
        f"{len(copies)} deliveries waited; at most {found} messages for one of them "
        f"(bound: {most})"
    )
    if found > most:
        raise PromiseBroken(f"a delivery was published {found} times, more than {most}")


def _copies_within(seconds: float, conf: Settings) -> int:
    """The logarithm while the waits double, then one in each REPUBLISH_MAX."""
    first, longest = conf.REPUBLISH_AFTER, conf.REPUBLISH_MAX
    doublings = math.log2(1 + min(seconds, longest) / first)
    rest = max(seconds - longest, 0.0) / longest
    return math.ceil(doublings) + math.ceil(rest) + BESIDES
