"""Crash points: the places in the engine at which a process can be told to die.

Each lies between two steps that cannot be made atomic. To arm a crash point, create
its trigger file; the first process that reaches the point deletes the file and kills
itself. Importing this module needs Django's app registry to be ready.
"""

# The engine offers no hooks for this suite: it needs the private functions.
# ruff: noqa: SLF001

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from django.db import connection

from chaos import journal, receiver_faults
from chaos.hooks import Function, Target
from signal_tasks import settling
from signal_tasks.broker.publisher import Publisher
from signal_tasks.db import coalesce, sequences
from signal_tasks.delivery import attempt, message, order, progress
from signal_tasks.delivery.call import call
from signal_tasks.delivery.claims import Claims
from signal_tasks.delivery.message import MessageRun
from signal_tasks.delivery.order import Order
from signal_tasks.delivery.progress import Progress
from signal_tasks.delivery.writing import write
from signal_tasks.dispatch import sending
from signal_tasks.outbox.write import write as write_events
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.relay import backfilling, changes, operating, publishing
from signal_tasks.steering import breaker, holding
from signal_tasks.steering.turns import keep_waiting

WEB, WORKER = "web", "worker"


def result_or_argument(arguments: tuple[Any, ...], result: Any) -> object:
    """Return the result of a method, or its first argument if that is None."""
    if result is not None:
        return result
    return arguments[1] if len(arguments) > 1 else True


@dataclass(frozen=True, slots=True)
class Location:
    """The place of a crash point: before or after the call of a function."""

    role: str
    when: Literal["before", "after"]
    target: Target
    description: str
    in_transaction: bool | None = None  # crash only inside (or outside) of one
    even_if_empty: bool = False  # crash also if the function has no deliveries
    deliveries: Callable[[tuple[Any, ...], Any], object] = result_or_argument

    def matches(self, arguments: tuple[Any, ...], result: object) -> bool:
        """Return whether a crash now would test this crash point."""
        if not (self.even_if_empty or self.deliveries(arguments, result)):
            return False
        return self.in_transaction in (None, connection.in_atomic_block)


class CrashPoint(Enum):
    """Every crash point, in the order in which a delivery reaches them."""

    MERGED = Location(
        WEB,
        "after",
        Target(coalesce._Row, coalesce._Row.merge),
        "merged into a delivery that waits, not committed",
    )
    WRITTEN = Location(
        WEB, "after", Target(sending, write_events), "rows written, not committed"
    )
    JOINED = Location(
        WEB,
        "after",
        Target(sequences, sequences.join),
        "places in line taken, not committed",
        even_if_empty=True,
    )
    COMMITTED = Location(
        WEB,
        "before",
        Target(Publisher, Publisher.submit),
        "committed, not passed to the publisher",
    )
    SUBMITTED = Location(
        WEB, "before", Target(Publisher, Publisher._publish), "not yet published"
    )
    PUBLISHED = Location(
        WEB, "after", Target(Publisher, Publisher._publish), "just published"
    )
    PROBED = Location(
        WORKER,
        "after",
        Target(breaker, breaker._begin_probe),
        "breaker half open for a probe, nothing claimed",
    )
    RECEIVED = Location(
        WORKER,
        "before",
        Target(Claims, Claims.claim),
        "message received, nothing claimed",
    )
    CLAIMED = Location(
        WORKER,
        "after",
        Target(Claims, Claims.claim),
        "claimed, receiver not called",
    )
    IN_RECEIVER = Location(
        WORKER,
        "after",
        Target(receiver_faults, receiver_faults.after_effect),
        "in a receiver, after its effect",
        even_if_empty=True,
    )
    RETURNED = Location(
        WORKER,
        "after",
        Target(attempt, call),
        "receiver returned, not finished",
        even_if_empty=True,
    )
    FINISHED = Location(
        WORKER,
        "after",
        Target(progress, write),
        "finish written, not committed (atomic)",
        in_transaction=True,
        even_if_empty=True,
    )
    TURN_GIVEN_UP = Location(
        WORKER,
        "after",
        Target(DeliveryQuerySet, DeliveryQuerySet.wake_behind),
        "turns given up, not committed",
        even_if_empty=True,
    )
    FINISH_COMMITTED = Location(
        WORKER, "before", Target(Progress, Progress.written), "finish committed"
    )
    SETTLING = Location(
        WORKER,
        "before",
        Target(message, settling.settle),
        "finish committed, not looked whether its event has settled",
        even_if_empty=True,
    )
    SETTLED = Location(
        WORKER,
        "after",
        Target(settling, settling._pass_on),
        "settled sent, not committed",
        in_transaction=True,
        even_if_empty=True,
    )
    NEXT_FOUND = Location(
        WORKER,
        "after",
        Target(Order, Order._next),
        "finish committed, those whose turn it is not claimed",
    )
    NOT_RUN = Location(
        WORKER,
        "before",
        Target(Order, Order._keep_waiting),
        "not claimed or not run for their turn, not moved away",
        even_if_empty=True,
    )
    MOVED_AWAY = Location(
        WORKER,
        "after",
        Target(order, keep_waiting),
        "what waits for its turn moved away",
        even_if_empty=True,
    )
    HELD = Location(
        WORKER,
        "after",
        Target(holding, holding._hold),
        "held, since they may not start, not committed",
        deliveries=lambda arguments, _: arguments[0],
    )
    UNACKNOWLEDGED = Location(
        WORKER,
        "after",
        Target(MessageRun, MessageRun.run),
        "all committed, message not acknowledged",
        even_if_empty=True,
    )
    RELEASING = Location(
        WORKER, "before", Target(MessageRun, MessageRun.release), "about to release"
    )
    RELEASED = Location(
        WORKER,
        "before",
        Target(MessageRun, MessageRun.publish),
        "released, not published",
    )
    HELD_RELEASED = Location(
        WORKER,
        "after",
        Target(holding, holding._release),
        "relay: held deliveries made due, not committed",
        deliveries=lambda _, result: result[0],
    )
    RECOVERING = Location(
        WORKER,
        "after",
        Target(DeliveryQuerySet, DeliveryQuerySet.expired_leases),
        "relay: expired leases locked, not released",
    )
    SCHEDULED = Location(
        WORKER,
        "before",
        Target(publishing, publishing._publish),
        "relay: publication scheduled, not published",
    )
    REPUBLISHED = Location(
        WORKER,
        "after",
        Target(publishing, publishing._publish),
        "relay: just published",
    )
    OPERATION_STEP = Location(
        WORKER,
        "before",
        Target(operating, operating.run_batch),
        "relay: between two batches of an operation",
    )
    COLLECTED = Location(
        WORKER,
        "after",
        Target(changes, changes.collect),
        "relay: items of an operation written, not committed",
        in_transaction=True,
    )
    CHANGED = Location(
        WORKER,
        "after",
        Target(changes, changes.change),
        "relay: deliveries of an operation changed, not counted",
        in_transaction=True,
    )
    BACKFILLED = Location(
        WORKER,
        "after",
        Target(backfilling, backfilling.insert),
        "relay: deliveries of a backfill inserted, not counted",
        in_transaction=True,
    )
    COUNTED = Location(
        WORKER,
        "after",
        Target(operating, operating.save),
        "relay: batch of an operation counted, not committed",
        in_transaction=True,
    )

    @property
    def trigger(self) -> Path:
        """Return the file whose existence arms this crash point."""
        return Path(os.environ["CHAOS_FOLDER"]) / "crash_points" / self.name

    @property
    def armed(self) -> bool:
        """Return whether no process has crashed here since it was armed."""
        return self.trigger.exists()

    def arm(self) -> None:
        """Have the next process that reaches this point crash."""
        self.trigger.parent.mkdir(exist_ok=True)
        self.trigger.touch()

    def disarm(self) -> None:
        """Have no process crash here."""
        self.trigger.unlink(missing_ok=True)

    def crash_if_armed(self) -> None:
        """Kill this process with SIGKILL if the point is armed, and disarm it."""
        try:
            self.trigger.unlink()
        except FileNotFoundError:
            return
        journal.write("crashed", point=self.name)
        os.kill(os.getpid(), signal.SIGKILL)


def install(role: str) -> None:
    """Set the hooks of all crash points of this role in this process."""
    for point in CrashPoint:
        if point.value.role == role:
            target = point.value.target
            target.replace(_hooked(point, target.current))


def _hooked(point: CrashPoint, function: Function) -> Function:
    """Return the function with the crash point before or after it."""
    location = point.value

    @functools.wraps(function)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        if location.when == "before" and location.matches(args, None):
            point.crash_if_armed()
        result = function(*args, **kwargs)
        if location.when == "after" and location.matches(args, result):
            point.crash_if_armed()
        return result

    return hooked
