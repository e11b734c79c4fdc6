"""Steps of the tests of operations: dead letters, passes of a relay, deliveries."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import F

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.delivery.message import process_message
from signal_tasks.models import Attempt, Delivery, Operation
from signal_tasks.operations import Operation as Handle
from signal_tasks.relay import operating
from tests.signal_tasks.conftest import finish


@dataclass
class Machine:
    """A receiver that can be broken and mended; ``calls`` are what it was given."""

    name: str
    broken: Callable[[dict[str, Any]], bool] = lambda kwargs: False
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, sender: object, **kwargs: Any) -> None:
        kwargs.pop("signal")
        self.calls.append(kwargs)
        if self.broken(kwargs):
            raise ValueError("the machine is broken")


def connect(signal: AsyncSignal, **options: Any) -> Machine:
    """Connect a machine that is tried twice."""
    machine = Machine(f"t.machine_{uuid.uuid4().hex}")
    policy = RetryPolicy(max_attempts=2, backoff=0, jitter=False)
    chosen: dict[str, Any] = {"name": machine.name, "retry": policy, **options}
    signal.connect(machine, weak=False, **chosen)
    return machine


def dead(signal: AsyncSignal, number: int = 1, **kwargs: Any) -> list[uuid.UUID]:
    """Send events whose deliveries die at once; return their ids."""
    before = set(Delivery.objects.values_list("pk", flat=True))
    items = [{"n": n, **kwargs} for n in range(number)]
    signal.send_many(sender=None, items=items)
    new = Delivery.objects.exclude(pk__in=before)
    ids = list(new.order_by("pk").values_list("pk", flat=True))
    finish(new, "dead")
    Delivery.objects.filter(pk__in=ids).update(reason="exhausted", attempts=2)
    return ids


def fail(pk: uuid.UUID, error_type: str, error: str, fingerprint: str = "") -> None:
    """Give a dead letter another failed attempt."""
    Attempt.objects.create(
        delivery_id=pk,
        number=2,
        consequence="dead",
        error_type=error_type,
        error=error,
        fingerprint=fingerprint,
    )


def run_pass(number: int = 1) -> None:
    """Work at operations as a relay does in a pass, each time after a while.

    For as long as it takes, on however busy a machine.
    """
    for _ in range(number):
        past = F("next_step_at") - timedelta(minutes=1)
        Operation.objects.filter(finished_at=None).update(next_step_at=past)
        for database in outbox_aliases():
            operating.work_off(database, seconds=60)


def deliver(machine: Machine) -> int:
    """Run what is pending for the machine, once; return the number."""
    rows = Delivery.objects.filter(receiver=machine.name, state="pending")
    ids = [str(pk) for pk in rows.order_by("pk").values_list("pk", flat=True)]
    process_message(machine.name, ids, "default", seconds=math.inf)
    return len(ids)


def states() -> dict[str, int]:
    found: dict[str, int] = {}
    for state in Delivery.objects.values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found


def counts(operation: Handle) -> tuple[int | None, int, int, int]:
    operation.refresh()
    return (operation.total, operation.done, operation.failed, operation.skipped)
