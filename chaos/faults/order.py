"""Faults of ordered receivers: a backlog of a few keys, a crash between two turns."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Collection

from chaos.crash_points import CrashPoint
from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import SERVERS, fault
from chaos.models import Effect
from chaos.processes import send_to, with_children
from chaos.receivers import permission
from chaos.signals import lined
from signal_tasks.db.clock import from_now
from signal_tasks.models import Delivery

#: Deliveries of one key.
NUMBER = 6


@fault(
    "every worker paused until all is sent: a backlog of few keys",
    databases=SERVERS,
    mixed=False,
)
def ordered_backlog(env: Environment) -> None:
    """Expect what has piled up to run in the order of the commits.

    On SQLite a worker that is paused while it writes would keep all senders out.
    """
    env.wait_until_busy()
    pids = [pid for worker in env.workers for pid in with_children(worker.pid)]
    send_to(pids, signal.SIGSTOP)
    try:
        env.wait_for_workload()
    finally:
        send_to(pids, signal.SIGCONT)


@fault(
    "a crash between two turns, when the next one was moved away",
    while_busy=False,
    mixed=False,
)
def ordered_crash(env: Environment) -> None:
    """Expect a relay to see to the next delivery, long before it would have anyway."""
    env.wait_for_deliveries()
    line = f"line-{env.rng.getrandbits(64)}"
    keys = [f"{line}-{number}" for number in range(NUMBER)]
    items = [{"key": key, "line": line} for key in keys]
    sent = lined.using(key=line).send_many(None, items)
    env.wait_until(lambda: _moved_away(sent) == NUMBER - 1, "deliveries moved away", 20)
    CrashPoint.NEXT_FOUND.arm()
    permission(line).touch()
    env.wait_for_crash(CrashPoint.NEXT_FOUND)
    env.expect(lambda: len(_effects(keys)) == NUMBER, "runs behind a crash", 15)
    if _effects(keys) != keys:
        raise PromiseBroken(f"out of order: {_effects(keys)}")


def _moved_away(events: Collection[uuid.UUID]) -> int:
    """Return how many deliveries of these no relay looks at for half a minute."""
    rows = Delivery.objects.filter(event_id__in=events, state="pending")
    return int(rows.filter(next_check_at__gt=from_now(30)).count())


def _effects(keys: list[str]) -> list[str]:
    rows = Effect.objects.filter(key__in=keys).order_by("pk")
    return list(rows.values_list("key", flat=True))
