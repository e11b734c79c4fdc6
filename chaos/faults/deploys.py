"""Faults of deploys: old code beside new, old payloads, clocks that disagree."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from chaos.environment import Environment, FaultNotInjected, PromiseBroken
from chaos.faults.catalogue import SERVERS, fault
from chaos.faults.messages import ATOMIC_TASK
from chaos.models import Effect
from chaos.processes import ROOT
from chaos.signals import instructed, novel
from signal_tasks.models import Delivery, Event

#: A payload in version 1 of the format, written before ``fault`` was an argument.
OLD_PAYLOAD = '{"v":1,"sender":null,"kwargs":{"key":"%s"}}'
LIBRARIES = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
FAKETIME = next(LIBRARIES, None)
DELAY = 3.0

SEND_RENAMED = """
import django; django.setup()
from chaos.signals import renamed
renamed.send(None, key={key!r})
"""


@fault(
    "workers that do not know a receiver yet, and a renamed one",
    mixed=False,
    short=False,
)
def old_code(env: Environment) -> None:
    """Expect deliveries to wait for an unknown receiver, and aliases to work (P9)."""
    key = f"deploy-{env.rng.getrandbits(64)}"
    env.wait_until_busy()
    env.stop_workers()
    env.processes.add_worker("other", CHAOS_CODE="old")
    novel.send(None, key=key)
    orphan = Delivery.objects.filter(event__signal=novel.name, orphaned=True)
    env.expect(orphan.exists, "orphan", 20)
    _send_with_old_code(key)
    env.restore()
    for kind in ("welcome", "greet"):
        effects = Effect.objects.filter(kind=kind, key=key)
        env.expect(
            lambda effects=effects: effects.count() == 1,  # type: ignore[misc]
            f"effect of {kind}",
            30,
        )


@fault(
    "a payload that an older version wrote",
    while_busy=False,
    may_spend_attempt=False,
    may_repeat=False,
)
def old_payload(env: Environment) -> None:
    """Insert a row as it was before the receivers got another argument."""
    key = f"old-{env.rng.getrandbits(64)}"
    with transaction.atomic():
        event = Event.objects.create(signal=instructed.name, payload=OLD_PAYLOAD % key)
        Delivery.objects.create(
            event=event, receiver=ATOMIC_TASK, next_check_at=timezone.now()
        )
    effects = Effect.objects.filter(kind="instructed", key=key)
    env.expect(lambda: effects.count() == 1, "effect of an old payload", 20)


@fault(
    "workers' clocks an hour fast and an hour slow",
    databases=SERVERS,
    mixed=False,
    short=False,
)
def wrong_clocks(env: Environment) -> None:
    """Expect a delayed delivery not to run early: the database's clock decides."""
    if FAKETIME is None:
        raise FaultNotInjected("libfaketime is not installed")
    env.wait_until_busy()
    env.stop_workers()
    for offset in ("+3600", "-3600"):
        env.processes.add_worker(f"clock{offset}", **_clock(offset))
    key = f"later-{env.rng.getrandbits(64)}"
    instructed.using(delay=DELAY).send(None, key=key)
    delayed = Delivery.objects.filter(event__payload__contains=f'"key":"{key}"')
    succeeded = delayed.filter(state="succeeded")
    env.expect(
        lambda: succeeded.count() == delayed.count(), "end of delayed deliveries", 30
    )
    waits = delayed.annotate(wait=F("finished_at") - F("event__sent_at"))
    shortest = timedelta(seconds=DELAY)
    early = [wait for wait in waits.values_list("wait", flat=True) if wait < shortest]
    if early:
        raise PromiseBroken(f"ran after {early} instead of {DELAY} s")


def _clock(offset: str) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _send_with_old_code(key: str) -> None:
    code = SEND_RENAMED.format(key=key)
    variables = {**os.environ, "CHAOS_CODE": "old"}
    subprocess.run(  # noqa: S603 - the code is ours
        [sys.executable, "-c", code], cwd=ROOT, env=variables, check=True, timeout=60
    )
