"""P7: messages that wait for long, and consumers that are away for a day."""

from __future__ import annotations

import math
import time
from collections import Counter
from datetime import timedelta

from django.db.models import F, Min
from django.test import override_settings
from django.utils import timezone

from chaos import journal, witness
from chaos.faults.catalogue import fault
from chaos.stage import Broken, Stage
from signal_tasks.conf import Settings, settings
from signal_tasks.models import Delivery
from signal_tasks.relay import Relay

DAY = timedelta(days=1)
#: How often a delivery may be published besides: at once, and when it is run again.
BESIDES = 2


@fault("every message waits in the broker for ten leases", mixed=False, short=False)
def long_queue(stage: Stage) -> None:
    """Nobody consumes for ten leases; all is run then, and few copies are made."""
    stage.until_busy()
    started = time.time()
    stage.dismiss_workers()
    relay = stage.crew.add_relay()
    waited = 10 * settings().LEASE
    stage.wait(waited)
    _check(stage, started, _copies_within(waited, settings()))
    stage.crew.dismiss(relay)
    stage.restore()


@fault("the consumers are away for a simulated day", mixed=False, short=False)
def away_for_a_day(stage: Stage) -> None:
    """The rows age by a day, with the times of a deployment; a real relay publishes."""
    stage.until_busy()
    stage.dismiss_workers()
    stage.until(lambda: stage.load is None or stage.load.done, "end of load", 60)
    started = time.time()
    with override_settings(SIGNAL_TASKS={}), witness.messages_counted():
        _age(Relay("conductor"), DAY)
        _check(stage, started, _copies_within(DAY.total_seconds(), settings()))
    Delivery.objects.live().update(relay_at=timezone.now())
    stage.restore()


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


def _check(stage: Stage, started: float, most: int) -> None:
    copies = Counter(
        pk
        for line in journal.read(stage.folder)
        if line.what == "published" and line.at >= started
        for pk in line.facts["ids"]
    )
    found = max(copies.values(), default=0)
    stage.notes.append(
        f"{len(copies)} deliveries waited; at most {found} messages for one of them "
        f"(bound: {most})"
    )
    if found > most:
        raise Broken(f"a delivery was published {found} times, more than {most}")


def _copies_within(seconds: float, conf: Settings) -> int:
    """The logarithm while the waits double, then one in each REPUBLISH_MAX."""
    first, longest = conf.REPUBLISH_AFTER, conf.REPUBLISH_MAX
    doublings = math.log2(1 + min(seconds, longest) / first)
    rest = max(seconds - longest, 0.0) / longest
    return math.ceil(doublings) + math.ceil(rest) + BESIDES
