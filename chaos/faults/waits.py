"""Faults of time: messages that wait for long, consumers that are away for a day (P7)."""

from __future__ import annotations

import math
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
from signal_tasks.relay.relay import Relay

DAY = timedelta(days=1)
#: Further publications: the first one, and one when a delivery is run again.
EXTRA_COPIES = 2


@fault("every message waits in the broker for ten leases", mixed=False, short=False)
def long_queue(env: Environment) -> None:
    """Stop all consumers for ten leases; expect few copies of each message."""
    env.wait_until_busy()
    started = journal.now()
    env.stop_workers()
    relay = env.processes.add_relay()
    waited = 10 * settings().LEASE
    env.wait(waited)
    _check(env, started, _max_copies(waited, settings()))
    env.processes.remove(relay)
    env.restore()


@fault("the consumers are away for a simulated day", mixed=False, short=False)
def away_for_a_day(env: Environment) -> None:
    """Age the rows by a day, with default settings, while a real relay publishes."""
    env.wait_until_busy()
    env.stop_workers()
    env.wait_for_workload()
    started = journal.now()
    with override_settings(SIGNAL_TASKS={}), trace.published_messages_recorded():
        _age(Relay("chaos"), DAY)
        _check(env, started, _max_copies(DAY.total_seconds(), settings()))
    Delivery.objects.live().update(next_check_at=timezone.now())
    env.restore()


def _age(relay: Relay, age: timedelta) -> None:
    """Age the rows from each due time to the next, and run the relay at each."""
    passed = timedelta()
    while passed < age:
        now = timezone.now()
        due = Delivery.objects.live().aggregate(due=Min("next_check_at"))["due"] or now
        step = max(due - now, timedelta()) + timedelta(seconds=1)
        live = Delivery.objects.live()
        live.update(
            next_check_at=F("next_check_at") - step,
            available_at=F("available_at") - step,
        )
        relay.run_once()
        passed += step


def _check(env: Environment, started: float, bound: int) -> None:
    """Raise if a delivery was published more often than the bound allows."""
    copies = Counter(
        pk
        for record in journal.read(env.folder)
        if record.kind == "published" and record.at >= started
        for pk in record.facts["ids"]
    )
    found = max(copies.values(), default=0)
    env.notes.append(
        f"{len(copies)} deliveries waited; at most {found} messages for one of them "
        f"(bound: {bound})"
    )
    if found > bound:
        raise PromiseBroken(f"a delivery was published {found} times, over {bound}")


def _max_copies(seconds: float, conf: Settings) -> int:
    """Return the most publications of one delivery in this time.

    The waits double up to REPUBLISH_MAX; after that there is one publication in each
    REPUBLISH_MAX.
    """
    first, longest = conf.REPUBLISH_AFTER, conf.REPUBLISH_MAX
    doublings = math.log2(1 + min(seconds, longest) / first)
    rest = max(seconds - longest, 0.0) / longest
    return math.ceil(doublings) + math.ceil(rest) + EXTRA_COPIES
