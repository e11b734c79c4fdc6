"""Receivers that leave effects, sleep, fail and crash on demand."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from signal_tasks import (
    BatchItem,
    Breaker,
    Coalesce,
    Reject,
    Retry,
    RetryPolicy,
    async_receiver,
    current_delivery,
)
from tests.testapp.marks import folder, mark
from tests.testapp.models import Draft, Effect, Thing
from tests.testapp.signals import (
    aged,
    async_inside,
    awaited,
    bridged,
    bundled_briefly,
    bundled_inside,
    bundled_outside,
    chained,
    failed,
    happened,
    inside,
    limited,
    lined_inside,
    lined_outside,
    mailed,
    met,
    narrow,
    noted,
    novel,
    outside,
    paced,
    queued,
    timed,
    typed,
)

SOON = RetryPolicy(max_attempts=3, backoff=0.05, jitter=False)


def leave(what: str, key: object = "") -> None:
    """Leave a mark, and an effect in the database of the current delivery."""
    mark(what, key)
    database = current_delivery().database
    Effect.objects.using(database).create(what=what, key=str(key), worker=os.getpid())


def nap(seconds: float) -> None:
    time.sleep(seconds)


def nap_once(seconds: float) -> None:
    """Sleep, but not when the event is run again."""
    if current_delivery().id not in _napped:
        _napped.add(current_delivery().id)
        time.sleep(seconds)


_napped: set[object] = set()


def nap_there(seconds: float) -> None:
    """Sleep in a worker that was started with TEST_NAPS."""
    if os.environ.get("TEST_NAPS"):
        time.sleep(seconds)


def doze(seconds: float) -> None:
    """Sleep in the database."""
    with connections[current_delivery().database].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def tell(seconds: float) -> None:
    """Leave the process id of the database connection as an effect."""
    with connections[current_delivery().database].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        leave("backend", cursor.fetchone()[0])


def run_process(seconds: float) -> None:
    subprocess.run(["sleep", str(seconds)], check=True)


def crash(seconds: float) -> None:
    os._exit(3)


def leave_process(seconds: float) -> None:
    sys.exit(3)


def stumble(seconds: float) -> None:
    raise RuntimeError("on purpose")


def stumble_late(seconds: float) -> None:
    """Fail after the commit."""
    transaction.on_commit(lambda: stumble(seconds))


def reject(seconds: float) -> None:
    raise Reject("on purpose")


def wait(seconds: float) -> None:
    """Ask to be run again until the event is old enough."""
    if current_delivery().sent_at.timestamp() > time.time() - seconds:
        raise Retry(after=0.2, counts=False)


#: The tasks that an event may give its receiver, after that has left its effect.
TASKS: dict[str, Callable[[float], None]] = {
    "nap": nap,
    "nap once": nap_once,
    "nap there": nap_there,
    "doze": doze,
    "tell": tell,
    "run": run_process,
    "crash": crash,
    "exit": leave_process,
    "raise": stumble,
    "raise late": stumble_late,
    "reject": reject,
    "wait": wait,
    "": lambda seconds: None,
}


@receiver(happened)
def note_atomically(sender: object, key: object = "", **kwargs: Any) -> None:
    """Leave an effect that must be there exactly once."""
    leave("atomic", key)


@receiver(happened, atomic=False)
def note_outside(sender: object, key: object = "", **kwargs: Any) -> None:
    """Leave an effect that must be there at least once."""
    leave("outside", key)


@receiver(inside, retry=SOON)
def work_inside(
    sender: object, key: object, task: str = "", seconds: float = 0.0, **_: Any
) -> None:
    """Leave an effect and do the task of the event, in the delivery's transaction."""
    leave("inside", key)
    TASKS[task](seconds)


@receiver(outside, retry=SOON, atomic=False)
def work_outside(
    sender: object, key: object, task: str = "", seconds: float = 0.0, **_: Any
) -> None:
    """Leave an effect and do the task of the event, outside of any transaction."""
    leave("outside", key)
    TASKS[task](seconds)


@receiver(lined_inside, retry=SOON, ordered=True)
def work_in_line(
    sender: object, line: str, key: object, task: str = "", **kwargs: Any
) -> None:
    """Leave an effect and do the task of the event; the next of its line comes later."""
    mark(f"begun {line}", key)
    Effect.objects.create(what=f"line {line}", key=str(key), worker=os.getpid())
    TASKS[task](kwargs.get("seconds", 0.0))


@receiver(lined_outside, retry=SOON, ordered=True, atomic=False)
def work_in_line_outside(
    sender: object, line: str, key: object, task: str = "", **kwargs: Any
) -> None:
    """Do the same outside of any transaction, and leave a mark of the end."""
    mark(f"begun {line}", key)
    Effect.objects.create(what=f"line {line}", key=str(key), worker=os.getpid())
    TASKS[task](kwargs.get("seconds", 0.0))
    mark(f"ended {line}", key)


@receiver(failed, retry=SOON)
def fail(sender: object, key: object = "", times: int = 99, **kwargs: Any) -> None:
    """Fail the first few times, after an effect that must be undone."""
    leave("failed", key)
    if current_delivery().attempt <= times:
        raise RuntimeError(f"failed on purpose: {key}")


@receiver(timed, retry=SOON, timeout=1, atomic=False)
def overrun(
    sender: object, seconds: float, key: object = "", deaf: bool = False, **kwargs: Any
) -> None:
    """Sleep, perhaps for too long, perhaps without heeding the time limit."""
    leave("overrun", key)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(until - time.monotonic())
        except Exception:
            if not deaf:
                raise


WITHIN_AN_HOUR = RetryPolicy(max_attempts=20, backoff=0, give_up_after=3600)


@receiver(aged, retry=WITHIN_AN_HOUR, atomic=False)
def fail_for_an_hour(sender: object, **kwargs: Any) -> None:
    """Fail; run again while the event is young."""
    mark("aged", "once")
    raise RuntimeError("failed on purpose")


@receiver(limited, rate_limit="2/s")
def note_slowly(sender: object, key: object = "", **kwargs: Any) -> None:
    """Leave an effect, at most twice per second."""
    leave("slowly", key)


@receiver(paced, rate_limit="10/s", atomic=False)
def note_in_time(sender: object, key: object = "", **kwargs: Any) -> None:
    """Leave nothing but a mark, ten times per second of all workers together."""
    mark("paced", key)


#: The name of ``work_in_place`` where TEST_RENAMED is not set, and where it is.
NARROW_BEFORE, NARROW_AFTER = f"{__name__}.work_in_place", "tests.narrow"
NAMES: dict[str, Any] = {"name": NARROW_BEFORE}
if os.environ.get("TEST_RENAMED"):
    NAMES = {"name": NARROW_AFTER, "aliases": [NARROW_BEFORE]}


@receiver(narrow, max_concurrency=2, atomic=False, **NAMES)
def work_in_place(sender: object, key: object, seconds: float, **kwargs: Any) -> None:
    """Note in the database when it starts and ends; two at a time in all workers."""
    leave("start", key)
    time.sleep(seconds)
    leave("end", key)


@receiver(
    mailed,
    atomic=False,
    retry=SOON,
    breaker=Breaker(failures=3, window=60, pause=1),
)
def send_mail(sender: object, key: object, **kwargs: Any) -> None:
    """Leave a mark; fail after a moment while the mail server is down."""
    if (folder() / "mail server is down").exists():
        time.sleep(0.3)
        raise ConnectionError("the mail server is down")
    mark("mailed", key)


@receiver(noted, atomic=False)
def note(sender: object, key: object = "", naps: bool = False, **kwargs: Any) -> None:
    """Leave nothing but a mark; perhaps sleep where TEST_NAPS is set."""
    mark("note", key)
    if naps:
        nap_there(600)


@receiver(queued, queue="elsewhere")
def note_elsewhere(sender: object, key: object = "", **kwargs: Any) -> None:
    """Leave an effect; the messages take a queue of their own."""
    leave("elsewhere", key)


@receiver(awaited, retry=SOON, timeout=2)
async def note_async(
    sender: object, key: object = "", seconds: float = 0.0, **kwargs: Any
) -> None:
    """Leave an effect, then sleep in the event loop."""
    mark("async", key)
    await Effect.objects.acreate(what="async", key=str(key))
    await asyncio.sleep(seconds)
    mark("async to the end", key)


@receiver(async_inside, retry=SOON)
async def work_async(
    sender: object, key: object, times: int = 0, seconds: float = 0.0, **_: Any
) -> None:
    """Leave an effect, sleep in the event loop, and fail the first few times."""
    mark("async inside", key)
    await Effect.objects.acreate(what="async inside", key=str(key))
    await asyncio.sleep(seconds)
    if current_delivery().attempt <= times:
        raise RuntimeError(f"failed on purpose: {key}")


@receiver(bridged, retry=SOON)
def work_bridged(sender: object, key: object, seconds: float = 0.0, **_: Any) -> None:
    """Leave an effect, and sleep in an event loop of the receiver's own."""
    leave("bridged", key)
    async_to_sync(asyncio.sleep)(seconds)


@receiver(chained)
def send_on(sender: object, key: object = "", **kwargs: Any) -> None:
    """Send another event."""
    leave("sent on", key)
    happened.send(sender=None, key=key)


PATIENTLY = RetryPolicy(max_attempts=30, backoff=0.2)


@receiver(met, retry=PATIENTLY)
def lock_forwards(sender: object, things: list[Thing], **kwargs: Any) -> None:
    """Change the things one after the other."""
    _change("forwards", things)


@receiver(met, retry=PATIENTLY)
def lock_backwards(sender: object, things: list[Thing], **kwargs: Any) -> None:
    """Change the things in the opposite order."""
    _change("backwards", things[::-1])


def _change(what: str, things: list[Thing]) -> None:
    leave(what, things[0].pk)
    for thing in things:
        Thing.objects.filter(pk=thing.pk).update(name=what)
        time.sleep(0.3)


@receiver(
    typed,
    atomic=False,
    coalesce=Coalesce(key=lambda sender, key, **_: key, within=1.0),
)
def note_newest(
    sender: object, key: object, n: int, seconds: float = 0.0, **_: Any
) -> None:
    """Leave what was newest when it was called, then sleep."""
    leave("newest", f"{key}.{n}")
    time.sleep(seconds)


@async_receiver(
    post_save,
    sender=Draft,
    coalesce=Coalesce(
        key=lambda sender, instance, **_: instance, within=1.0, max_wait=3.0
    ),
)
def index(sender: object, instance: Draft, **kwargs: Any) -> None:
    """Leave the text that is in the database now."""
    leave("indexed", instance.text)


@async_receiver(
    post_save, sender=Draft, when=lambda sender, instance, **_: instance.text == "loop"
)
def save_again(sender: object, instance: Draft, **kwargs: Any) -> None:
    """Save what it was called for, which calls it again."""
    leave("saved again", instance.pk)
    instance.save()


def work_off(what: str, batch: Sequence[BatchItem]) -> Sequence[BatchItem]:
    """Leave the size of the batch, and an effect for each item; do their tasks."""
    mark(f"{what} sizes", len(batch))
    for item in batch:
        mark(what, item["key"])
        Effect.objects.create(what=what, key=str(item["key"]), worker=os.getpid())
    for item in batch:
        TASKS[item.arguments.get("task", "")](item.arguments.get("seconds", 0.0))
    return batch


@receiver(bundled_inside, retry=SOON, batch=100)
def work_off_inside(batch: Sequence[BatchItem], **_: Any) -> Sequence[BatchItem]:
    """Work off a batch in the transaction of its deliveries."""
    return work_off("bundled inside", batch)


@receiver(bundled_outside, retry=SOON, batch=100, atomic=False)
def work_off_outside(batch: Sequence[BatchItem], **_: Any) -> Sequence[BatchItem]:
    """Work off a batch outside of any transaction."""
    return work_off("bundled outside", batch)


@receiver(bundled_briefly, retry=SOON, batch=100, timeout=1)
def work_off_briefly(batch: Sequence[BatchItem], **_: Any) -> Sequence[BatchItem]:
    """Work off a batch in the transaction of its deliveries, in a second."""
    return work_off("bundled briefly", batch)


def note_novelty(sender: object, key: object = "", **kwargs: Any) -> None:
    """Leave an effect; older code does not know this receiver."""
    leave("novel", key)


if os.environ.get("TEST_KNOWS_NOVEL"):
    novel.connect(note_novelty)
