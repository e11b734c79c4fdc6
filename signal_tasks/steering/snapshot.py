"""Controls and gates of a database, as this process knows them for two seconds.

# Note [Snapshots]
Whoever claims or publishes asks before each batch what may start. The answer comes from
memory: both tables are read when the last look at them is older than MAX_AGE, which
bounds how late a pause is honoured. They are empty where nobody steers.

A snapshot that would hold something back is confirmed by a newer one first (FRESH).
Otherwise a worker that has not heard of a ``resume`` would hold again what relays have
just released.

Inside of a transaction there is nothing to see: what it reads may be rolled back, or be
as old as its beginning. Neither workers nor relays ask there. Eager tasks and tests do,
and are not steered, except by ``testing.run_pending``.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import Q

from signal_tasks.broker.config import is_eager
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.models import Control, Gate

#: How old a snapshot may be (seconds).
MAX_AGE = 2.0
#: The same, for what would hold deliveries back, or release them.
FRESH = 0.25


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The controls in force and the gates of one database; the rows are not changed.

    ``taken_at`` is monotonic. ``limits`` are by target. ``now`` is the time by the
    database's clock, if there is a gate.
    """

    taken_at: float = -math.inf
    pauses: Mapping[str, Control] = field(default_factory=dict)
    limits: Mapping[str, Control] = field(default_factory=dict)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    now: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing has ever been steered."""
        return not (self.pauses or self.limits or self.gates)

    def has_passed(self, moment: datetime | None) -> bool:
        """Return True if this is past by the database's clock; so is None."""
        if moment is None or self.now is None:
            return True
        since = timedelta(seconds=time.monotonic() - self.taken_at)
        return moment <= self.now + since

    @property
    def holding(self) -> list[str]:
        """The names of the gates at which deliveries are held."""
        return sorted(name for name, gate in self.gates.items() if gate.holding)


#: Holds nothing back.
NOTHING = Snapshot()


class _Here(threading.local):
    """The snapshots of a ``fresh`` block of this thread, by database."""

    taken: dict[str, Snapshot] | None = None


_here = _Here()
_taken: dict[str, Snapshot] = {}


def snapshot(database: str, *, max_age: float | None = None) -> Snapshot:
    """Return the controls and gates, at most ``max_age`` (MAX_AGE) seconds old.

    Nothing is in force where tasks are eager, or inside of a transaction.
    """
    if _here.taken is not None:
        if database not in _here.taken:
            _here.taken[database] = _read(database)
        return _here.taken[database]
    if connections[database].in_atomic_block or is_eager():
        return NOTHING
    last = _taken.get(database, NOTHING)
    age = MAX_AGE if max_age is None else max_age
    if time.monotonic() - last.taken_at <= age:
        return last
    _taken[database] = _read(database)
    return _taken[database]


def forget(database: str | None = None) -> None:
    """Read anew when next asked: this process has changed a control.

    Of one database, or of all.
    """
    if database is None:
        _taken.clear()
    else:
        _taken.pop(database, None)


def is_shared(database: str) -> bool:
    """Return True if what this thread does counts for the limits of all workers.

    Not where tasks are eager, inside of a transaction, or in a ``fresh`` block.
    """
    if _here.taken is not None or is_eager():
        return False
    return not connections[database].in_atomic_block


@contextmanager
def fresh() -> Iterator[None]:
    """Read what is in force once in this block, in a transaction or not."""
    before, _here.taken = _here.taken, {}
    try:
        yield
    finally:
        _here.taken = before


def _read(database: str) -> Snapshot:
    taken_at = time.monotonic()
    in_force = Q(until=None) | Q(until__gt=DatabaseNow())
    controls = list(Control.objects.using(database).filter(in_force))
    rows: Any = Gate.objects.using(database)
    gates = {each.receiver: each for each in rows.annotate(now=DatabaseNow())}
    pause = Control.Kind.PAUSE
    return Snapshot(
        taken_at=taken_at,
        pauses={each.target: each for each in controls if each.kind == pause},
        limits={each.target: each for each in controls if each.kind != pause},
        gates=gates,
        now=max((each.now for each in gates.values()), default=None),
    )


os.register_at_fork(after_in_child=_taken.clear)
