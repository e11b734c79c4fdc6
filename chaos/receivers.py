"""Receivers that leave effects to count, and receivers that misbehave on demand."""

from __future__ import annotations

import os
import random
import time
from typing import Any

from django.db import connection
from django.db.models import F
from django.dispatch import receiver

from chaos import journal, receiver_faults, trace
from chaos.models import Account, Effect
from chaos.signals import (
    counted,
    doomed,
    fought_over,
    happened,
    novel,
    ordered,
    renamed,
    timed,
)
from signal_tasks import RetryPolicy, current_delivery

#: For deliveries that have to succeed, whatever dies how often around them.
PATIENT = RetryPolicy(max_attempts=50, backoff=0.1, factor=1.5, max_delay=1.0)
#: For deliveries that fail for hours.
STUBBORN = RetryPolicy(max_attempts=1000, backoff=600.0)
#: For deliveries that have to be given up soon.
BRIEF = RetryPolicy(max_attempts=3, backoff=0.05, jitter=False)
#: One attempt in so many of the receiver that fails at random.
FAILS_ONE_IN = 4


def middle() -> None:
    """The middle of a receiver: its effect is there, it has not returned."""


def affect(what: str, key: str) -> None:
    """Leave an effect in the transaction of the delivery."""
    Effect.objects.create(what=what, key=key)


def affect_outside(what: str, key: str) -> None:
    """Leave an effect that nothing can take back, as an email is."""
    delivery = str(current_delivery().id)
    lease = trace.leases.get(delivery, 0)
    journal.write("effect", of=what, key=key, delivery=delivery, lease=lease)


@receiver(happened, retry=PATIENT)
def act_inside(sender: object, key: str, nap: float, **_: Any) -> None:
    """An effect that has to be there exactly once."""
    affect("inside", key)
    time.sleep(nap)
    middle()


@receiver(happened, retry=PATIENT, atomic=False)
def act_outside(sender: object, key: str, nap: float, **_: Any) -> None:
    """An effect that has to be there at least once, and more often only for a cause."""
    affect_outside("outside", key)
    time.sleep(nap)
    middle()


@receiver(happened, retry=PATIENT)
def act_at_times(sender: object, key: str, **_: Any) -> None:
    """An effect that has to be there exactly once, by a receiver that often fails."""
    affect("at times", key)
    delivery = current_delivery()
    seed = f"{os.environ.get('CHAOS_SEED')} {key} {delivery.attempt}"
    if not random.Random(seed).randrange(FAILS_ONE_IN):  # noqa: S311 - no secret
        raise RuntimeError(f"at random, in attempt {delivery.attempt}")


@receiver(ordered, retry=BRIEF)
def obey_inside(sender: object, key: str, task: str = "", **_: Any) -> None:
    """Do the misdeed of that name, inside of the delivery's transaction."""
    journal.write("entered", key=key)
    affect("obeyed", key)
    receiver_faults.do(task)


@receiver(ordered, retry=BRIEF, atomic=False)
def obey_outside(sender: object, key: str, task: str = "", **_: Any) -> None:
    """Do the misdeed of that name, outside of any transaction."""
    affect_outside("obeyed", key)
    receiver_faults.do(task)


@receiver(timed, retry=BRIEF, timeout=1)
def overrun(sender: object, key: str, task: str, **_: Any) -> None:
    """Do a misdeed that takes longer than this receiver may."""
    affect_outside("overrun", key)
    receiver_faults.do(task)


@receiver(fought_over, retry=PATIENT)
def change_forwards(sender: object, key: str, names: list[str], **_: Any) -> None:
    """Change the accounts one after the other."""
    _change("forwards", key, names)


@receiver(fought_over, retry=PATIENT)
def change_backwards(sender: object, key: str, names: list[str], **_: Any) -> None:
    """Change the accounts in the opposite order."""
    _change("backwards", key, names[::-1])


def _change(what: str, key: str, names: list[str]) -> None:
    affect(what, key)
    for name in names:
        Account.objects.filter(name=name).update(changes=F("changes") + 1)
        time.sleep(0.03 if connection.vendor != "sqlite" else 0)


@receiver(counted)
def count(sender: object, key: str, **_: Any) -> None:
    """An effect, and no more."""
    affect("counted", key)


@receiver(doomed, retry=STUBBORN)
def fail(sender: object, **_: Any) -> None:
    """Fail, today as ever."""
    raise RuntimeError("as always")


def welcome(sender: object, key: str, **_: Any) -> None:
    """An effect of a receiver that older code does not know."""
    affect("welcome", key)


def greet(sender: object, key: str, **_: Any) -> None:
    """An effect of a receiver that older code knows by another name."""
    affect("greet", key)


if os.environ.get("CHAOS_CODE", "new") == "new":
    novel.connect(welcome)
    renamed.connect(greet, aliases=["chaos.receivers.salute"])
else:
    renamed.connect(greet, name="chaos.receivers.salute")
