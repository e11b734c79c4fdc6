"""Receivers that leave effects, sleep, fail and crash on demand."""

from __future__ import annotations

import os
import time
from typing import Any

from django.dispatch import receiver

from signal_tasks import RetryPolicy, current_delivery
from tests.testapp.models import Effect
from tests.testapp.signals import (
    awaited,
    chained,
    crashed,
    failed,
    happened,
    queued,
    slept,
    timed,
)

SOON = RetryPolicy(max_attempts=3, backoff=0.05, jitter=False)


def leave(what: str, key: object = "") -> None:
    """Leave an effect in the database of the current delivery."""
    database = current_delivery().database
    Effect.objects.using(database).create(what=what, key=str(key), worker=os.getpid())


@receiver(happened)
def note_atomically(sender: object, key: object = "", **kwargs: Any) -> None:
    """An effect that has to be there exactly once."""
    leave("atomic", key)


@receiver(happened, atomic=False)
def note_outside(sender: object, key: object = "", **kwargs: Any) -> None:
    """An effect that has to be there at least once."""
    leave("outside", key)


@receiver(slept)
def sleep_atomically(
    sender: object, seconds: float, key: object = "", **_: Any
) -> None:
    """An effect, then a nap inside of the transaction."""
    leave("slept atomically", key)
    time.sleep(seconds)


@receiver(slept, atomic=False)
def sleep_outside(sender: object, seconds: float, key: object = "", **_: Any) -> None:
    """An effect, then a nap outside of any transaction."""
    leave("slept outside", key)
    time.sleep(seconds)


@receiver(crashed, retry=SOON, atomic=False)
def crash(sender: object, key: object = "", fatal: bool = True, **kwargs: Any) -> None:
    """Kill the worker's process, if the event says so."""
    leave("crash", key)
    if fatal:
        os._exit(3)


@receiver(failed, retry=SOON)
def fail(sender: object, key: object = "", times: int = 99, **kwargs: Any) -> None:
    """Fail the first few times, leaving an effect that must not stay."""
    leave("failed", key)
    if current_delivery().attempt <= times:
        raise RuntimeError(f"failed on purpose: {key}")


@receiver(timed, retry=SOON, timeout=1, atomic=False)
def overrun(sender: object, seconds: float, key: object = "", **kwargs: Any) -> None:
    """Sleep, perhaps for longer than allowed."""
    leave("overrun", key)
    time.sleep(seconds)


@receiver(queued, queue="elsewhere")
def note_elsewhere(sender: object, key: object = "", **kwargs: Any) -> None:
    """An effect by way of a queue of its own."""
    leave("elsewhere", key)


@receiver(awaited)
async def note_async(sender: object, key: object = "", **kwargs: Any) -> None:
    """An effect of an async function."""
    await Effect.objects.acreate(what="async", key=str(key))


@receiver(chained)
def send_on(sender: object, key: object = "", **kwargs: Any) -> None:
    """An event sent inside of a receiver."""
    leave("sent on", key)
    happened.send(sender=None, key=key)
