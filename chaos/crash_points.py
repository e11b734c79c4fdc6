"""The crash points: the moments at which a process that dies is worth watching.

Each is a window of the engine between two things that cannot be one. A process dies
there when it meets an order to do so; orders are files, so that exactly one process
obeys each. The hooks are put around functions of ``signal_tasks`` from outside.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from chaos import journal

WEB, WORKER = "web", "worker"


@dataclass(frozen=True, slots=True)
class Window:
    """Where a crash point is: ``module:path`` of a function, before or after it."""

    role: str
    where: str
    after: bool
    meaning: str
    inside: bool | None = None  # only inside (or outside) of a transaction
    idle: bool = False  # also when the function has nothing in hand

    def is_worth_it(self, in_hand: object) -> bool:
        """Whether a crash now would hit what the window is about."""
        if not (self.idle or in_hand):
            return False
        return self.inside is None or self.inside is _in_transaction()


class CrashPoint(Enum):
    """Every crash point, in the order in which a delivery meets them."""

    WRITTEN = Window(
        WEB, "signal_tasks.outbox:write", True, "rows written, not committed"
    )
    COMMITTED = Window(
        WEB,
        "signal_tasks.publisher:Publisher.submit",
        False,
        "committed, not handed on",
    )
    SUBMITTED = Window(
        WEB, "signal_tasks.publisher:Publisher._publish", False, "not yet published"
    )
    PUBLISHED = Window(
        WEB, "signal_tasks.publisher:Publisher._publish", True, "just published"
    )
    RECEIVED = Window(
        WORKER,
        "signal_tasks.delivery:Shift._take",
        False,
        "message here, nothing taken",
    )
    TAKEN = Window(
        WORKER, "signal_tasks.delivery:Shift._take", True, "taken, receiver not called"
    )
    IN_RECEIVER = Window(
        WORKER,
        "chaos.receivers:middle",
        True,
        "in a receiver, after its effect",
        idle=True,
    )
    RAN = Window(
        WORKER,
        "signal_tasks.attempts:call",
        True,
        "receiver returned, no end",
        idle=True,
    )
    ENDED = Window(
        WORKER,
        "signal_tasks.groups:settle",
        True,
        "end written, not committed (atomic)",
        inside=True,
        idle=True,
    )
    SETTLED = Window(
        WORKER,
        "signal_tasks.groups:settle_apart",
        True,
        "end committed (not atomic)",
        inside=False,
        idle=True,
    )
    UNACKNOWLEDGED = Window(
        WORKER,
        "signal_tasks.delivery:Shift.work_off",
        True,
        "all committed, message not acknowledged",
        idle=True,
    )
    HANDING_BACK = Window(
        WORKER, "signal_tasks.delivery:Shift._hand_back", False, "about to hand back"
    )
    HANDED_BACK = Window(
        WORKER,
        "signal_tasks.delivery:Shift._resubmit",
        False,
        "handed back, unpublished",
    )
    RECOVERING = Window(
        WORKER,
        "signal_tasks.querysets:DeliveryQuerySet.expired",
        True,
        "relay: lost leases locked, not returned",
    )
    CLAIMED = Window(
        WORKER,
        "signal_tasks.relay:Relay._publish",
        False,
        "relay: claimed, unpublished",
    )
    RELAYED = Window(
        WORKER, "signal_tasks.relay:Relay._publish", True, "relay: just published"
    )

    @property
    def order(self) -> Path:
        """The file that orders the next process at this point to die."""
        return Path(os.environ["CHAOS_FOLDER"]) / "orders" / self.name

    def arrive(self) -> None:
        """Die here, as by SIGKILL, if that was ordered."""
        try:
            self.order.unlink()
        except FileNotFoundError:
            return
        journal.write("crashed", point=self.name)
        os.kill(os.getpid(), signal.SIGKILL)


def install(role: str) -> None:
    """Put the hooks of this role's crash points around the functions they name."""
    for point in CrashPoint:
        if point.value.role == role:
            holder, name = found(point.value.where)
            setattr(holder, name, _hooked(point, getattr(holder, name)))


def found(where: str) -> tuple[Any, str]:
    """What holds the function of that ``module:path``, and its name there."""
    module, _, path = where.partition(":")
    *parents, name = path.split(".")
    holder = functools.reduce(getattr, parents, importlib.import_module(module))
    return holder, name


def _hooked(point: CrashPoint, function: Callable[..., Any]) -> Callable[..., Any]:
    window = point.value

    @functools.wraps(function)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        in_hand = args[1] if len(args) > 1 else True
        if not window.after and window.is_worth_it(in_hand):
            point.arrive()
        result = function(*args, **kwargs)
        if window.after and window.is_worth_it(in_hand if result is None else result):
            point.arrive()
        return result

    return hooked


def _in_transaction() -> bool:
    from django.db import connection

    return connection.in_atomic_block
