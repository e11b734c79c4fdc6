"""Receivers that leave effects to count, and receivers that fail on request."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.models import F
from django.dispatch import receiver

from chaos import journal, receiver_faults, trace
from chaos.models import Account, Effect
from chaos.signals import (
    coalesced,
    concluded,
    contended,
    counted,
    doomed,
    guarded,
    instructed,
    limited,
    lined,
    novel,
    operated,
    renamed,
    time_limited,
    workload_event,
)
from signal_tasks import Breaker, Coalesce, RetryPolicy, current_delivery

#: For deliveries that have to succeed, however often processes die.
PATIENT = RetryPolicy(max_attempts=50, backoff=0.1, factor=1.5, max_delay=1.0)
#: For deliveries that fail for hours.
STUBBORN = RetryPolicy(max_attempts=1000, backoff=600.0)
#: For deliveries that have to become dead soon.
BRIEF = RetryPolicy(max_attempts=3, backoff=0.05, jitter=False)
#: The receiver that fails at random fails in one attempt of this many.
FAILS_ONE_IN = 4


def leave_effect(kind: str, key: str) -> None:
    """Leave an effect in the transaction of the delivery."""
    Effect.objects.create(kind=kind, key=key)


def leave_external_effect(kind: str, key: str) -> None:
    """Leave an effect that no rollback undoes, such as an email."""
    delivery = str(current_delivery().id)
    lease = trace.lease.get()
    journal.write("effect", effect=kind, key=key, delivery=delivery, lease=lease)


@receiver(workload_event, retry=PATIENT)
def act_atomically(sender: object, key: str, nap: float, **_: Any) -> None:
    """Leave an effect that must exist exactly once."""
    leave_effect("atomic", key)
    time.sleep(nap)
    receiver_faults.after_effect()


@receiver(workload_event, retry=PATIENT, atomic=False)
def act_externally(sender: object, key: str, nap: float, **_: Any) -> None:
    """Leave an effect that must exist at least once; repetitions need a cause."""
    leave_external_effect("external", key)
    time.sleep(nap)
    receiver_faults.after_effect()


@receiver(workload_event, retry=PATIENT)
def act_or_fail(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist exactly once, then fail at random."""
    leave_effect("flaky", key)
    fail_at_random(key)


def fail_at_random(key: str) -> None:
    """Fail in one attempt of FAILS_ONE_IN."""
    delivery = current_delivery()
    seed = f"{os.environ.get('CHAOS_SEED')} {key} {delivery.attempt}"
    if not random.Random(seed).randrange(FAILS_ONE_IN):  # noqa: S311 - no secret
        raise RuntimeError(f"at random, in attempt {delivery.attempt}")


@receiver(workload_event, retry=PATIENT, ordered=True)
def act_in_order(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist exactly once, behind those of its line."""
    leave_effect("ordered", key)
    fail_at_random(key)
    receiver_faults.after_effect()


@receiver(workload_event, retry=PATIENT, ordered=True, atomic=False)
def act_in_order_externally(sender: object, key: str, nap: float, **_: Any) -> None:
    """Begin and end, both seen from outside, when all of its line before it have ended."""
    leave_step("begun", key)
    time.sleep(nap / 5)
    fail_at_random(key)
    leave_step("ended", key)


def leave_step(phase: str, key: str) -> None:
    """Record that a run of the delivery has begun or ended."""
    delivery = str(current_delivery().id)
    lease = trace.lease.get()
    journal.write("step", phase=phase, key=key, delivery=delivery, lease=lease)


@receiver(lined, retry=PATIENT, ordered=True)
def act_when_permitted(sender: object, key: str, line: str, **_: Any) -> None:
    """Leave an effect, once the line has the permission."""
    leave_effect("lined", key)
    if not permission(line).exists():
        raise RuntimeError("not permitted yet")


def permission(line: str) -> Path:
    """Return the file whose existence permits the deliveries of a line to succeed."""
    return Path(os.environ["CHAOS_FOLDER"]) / line


def by_line(sender: object, line: str, **_: Any) -> str:
    """Return the key under which sends are merged."""
    return line


@receiver(
    coalesced, retry=PATIENT, coalesce=Coalesce(key=by_line, within=1.0, max_wait=5.0)
)
def act_on_newest(sender: object, line: str, number: int, **_: Any) -> None:
    """Leave an effect that must exist exactly once for the newest of a line."""
    leave_effect("coalesced", f"{line}-{number}")


@receiver(concluded, retry=PATIENT)
def act_before_the_end(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist exactly once."""
    leave_effect("concluded", key)


@receiver(concluded, retry=PATIENT, atomic=False)
def act_externally_before_the_end(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist at least once."""
    leave_external_effect("concluded-external", key)


@receiver(concluded.settled, retry=PATIENT)
def act_at_the_end(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist exactly once, after the other two."""
    leave_effect("settled", key)


@receiver(limited, retry=PATIENT, rate_limit="2/s")
def act_at_a_rate(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist exactly once, when the rate permits it."""
    leave_effect("limited", key)


def service_is_away() -> Path:
    """Return the path of a file that is there as long as a service does not answer."""
    return Path(os.environ["CHAOS_FOLDER"]) / "service_is_away"


@receiver(guarded, retry=PATIENT, breaker=Breaker(failures=2, pause=0.3))
def act_behind_a_breaker(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist exactly once; fail while its service is away."""
    leave_effect("guarded", key)
    if service_is_away().exists():
        raise RuntimeError("the service is away")


@receiver(instructed, retry=BRIEF)
def misbehave_atomically(sender: object, key: str, fault: str = "", **_: Any) -> None:
    """Leave an effect, then inject a receiver fault in the delivery's transaction."""
    journal.write("entered", key=key)
    leave_effect("instructed", key)
    receiver_faults.inject(fault)


@receiver(instructed, retry=BRIEF, atomic=False)
def misbehave_externally(sender: object, key: str, fault: str = "", **_: Any) -> None:
    """Leave an effect, then inject a receiver fault outside of any transaction."""
    leave_external_effect("instructed", key)
    receiver_faults.inject(fault)


@receiver(time_limited, retry=BRIEF, timeout=1)
def exceed_time_limit(sender: object, key: str, fault: str, **_: Any) -> None:
    """Inject a receiver fault that takes longer than the time limit."""
    leave_external_effect("time-limited", key)
    receiver_faults.inject(fault)


@receiver(contended, retry=PATIENT)
def change_forwards(sender: object, key: str, names: list[str], **_: Any) -> None:
    """Change the accounts one after the other."""
    _change("forwards", key, names)


@receiver(contended, retry=PATIENT)
def change_backwards(sender: object, key: str, names: list[str], **_: Any) -> None:
    """Change the accounts in the opposite order."""
    _change("backwards", key, names[::-1])


def _change(kind: str, key: str, names: list[str]) -> None:
    leave_effect(kind, key)
    for name in names:
        Account.objects.filter(name=name).update(changes=F("changes") + 1)
        time.sleep(0.03 if connection.vendor != "sqlite" else 0)


@receiver(counted)
def count(sender: object, key: str, **_: Any) -> None:
    """Leave an effect."""
    leave_effect("counted", key)


@receiver(operated, retry=PATIENT)
def act_on_replay(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist exactly once."""
    leave_effect("replayed", key)


@receiver(operated, retry=PATIENT)
def act_on_backfill(sender: object, key: str, **_: Any) -> None:
    """Leave an effect that must exist exactly once."""
    leave_effect("backfilled", key)


@receiver(doomed, retry=STUBBORN)
def fail(sender: object, **_: Any) -> None:
    """Fail in every attempt."""
    raise RuntimeError("always fails")


def welcome(sender: object, key: str, **_: Any) -> None:
    """Leave an effect; older code does not have this receiver."""
    leave_effect("welcome", key)


def greet(sender: object, key: str, **_: Any) -> None:
    """Leave an effect; older code has this receiver under another name."""
    leave_effect("greet", key)


if os.environ.get("CHAOS_CODE", "new") == "new":
    novel.connect(welcome)
    renamed.connect(greet, aliases=["chaos.receivers.salute"])
else:
    renamed.connect(greet, name="chaos.receivers.salute")
