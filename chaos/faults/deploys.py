"""Faults of deploys: old code beside new, old payloads, clocks that disagree."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from chaos.environment import Environment, FaultNotInjected, PromiseBroken
from chaos.faults.catalogue import SERVERS, fault
from chaos.models import Effect
from chaos.processes import ROOT
from chaos.signals import novel, ordered
from signal_tasks.models import Delivery, Event

#: A payload as version 1 of the format writes it, before ``task`` was added.
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
    """P9: an unknown receiver's delivery waits as an orphan; an alias finds its own."""
    key = f"deploy-{env.rng.getrandbits(64)}"
    env.wait_until_busy()
    _replace_workers(env, CHAOS_CODE="old")
    novel.send(None, key=key)
    orphan = Delivery.objects.filter(event__signal=novel.name, orphaned=True)
    env.wait_until(orphan.exists, "orphan", 20)
    _send_by_old_code(env, key)
    env.restore()
    for what in ("welcome", "greet"):
        done = Effect.objects.filter(what=what, key=key)
        env.wait_until(lambda done=done: done.count() == 1, f"effect of {what}", 30)  # type: ignore[misc]


@fault(
    "a payload that an older version wrote", may_spend_attempt=False, may_repeat=False
)
def old_payload(env: Environment) -> None:
    """A row as it was written before the receivers got another argument."""
    key = f"old-{env.rng.getrandbits(64)}"
    with transaction.atomic():
        event = Event.objects.create(signal=ordered.name, payload=OLD_PAYLOAD % key)
        Delivery.objects.create(
            event=event, receiver="chaos.receivers.obey_inside", relay_at=timezone.now()
        )
    done = Effect.objects.filter(what="obeyed", key=key)
    env.wait_until(lambda: done.count() == 1, "effect of an old payload", 20)


@fault(
    "workers' clocks an hour fast and an hour slow",
    databases=SERVERS,
    mixed=False,
    short=False,
)
def wrong_clocks(env: Environment) -> None:
    """Due times are the database's: what is delayed runs at its time."""
    if FAKETIME is None:
        raise FaultNotInjected("libfaketime is not installed")
    env.wait_until_busy()
    env.stop_workers()
    for offset in ("+3600", "-3600"):
        env.processes.add_worker(f"clock{offset}", **_clock(offset))
    key = f"later-{env.rng.getrandbits(64)}"
    ordered.using(delay=DELAY).send(None, key=key)
    later = Delivery.objects.filter(event__payload__contains=f'"key":"{key}"')
    ended = later.filter(state="succeeded")
    env.wait_until(
        lambda: ended.count() == later.count(), "end of what was delayed", 30
    )
    waits = later.annotate(wait=F("finished_at") - F("event__sent_at"))
    early = [
        w for w in waits.values_list("wait", flat=True) if w < timedelta(seconds=DELAY)
    ]
    if early:
        raise PromiseBroken(f"ran after {early} instead of {DELAY} s")


def _clock(offset: str) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _replace_workers(env: Environment, **variables: str) -> None:
    env.stop_workers()
    env.processes.add_worker("other", **variables)


def _send_by_old_code(env: Environment, key: str) -> None:
    variables: dict[str, Any] = {**env.processes.environment, "CHAOS_CODE": "old"}
    code = SEND_RENAMED.format(key=key)
    subprocess.run(  # noqa: S603 - the code is ours
        [sys.executable, "-c", code], cwd=ROOT, env=variables, check=True, timeout=60
    )
