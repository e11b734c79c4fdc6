"""Rates that hold for all workers together: tokens, taken from the database in blocks.

# Note [Rates]
A gate knows when its next token may be taken (the generic cell rate algorithm). Each
delivery that starts uses one. A process takes a block at once, as many as it has lately
used in KEEP_SECONDS and no more than the rate gives in BLOCK_SECONDS, so that no hot row
limits throughput. It uses what is left within KEEP_SECONDS or not at all. Tokens that
nobody asked for are lost, but for those of the last TOLERANCE seconds: so a relay that
is a little late costs no throughput.

A window of ten seconds thus has at most the tokens of 10 s, and of one second more: those
kept by the processes, those of the tolerance, and the last block. With rates below two
per second that is one token and those of half a second.

A rate that is raised holds at once. Under a rate, the time of the next token is never
further ahead than one block. A later one was written under a slower rate, or before the
database's clock was set back, and is not waited for.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, Q, Value
from django.db.models.functions import Coalesce, Greatest, Least

from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.models import Gate
from signal_tasks.steering.locking import (
    do_not_wait_for_the_disk,
    locked_gate,
    make_gate,
)
from signal_tasks.validation import MAX_SECONDS

#: The largest block, in seconds of the rate; it has at least one token.
BLOCK_SECONDS = 0.125
#: How long a process keeps what is left of a block (seconds).
KEEP_SECONDS = 0.125
#: How late tokens may be asked for without being lost (seconds).
TOLERANCE, LOW_TOLERANCE, LOW_RATE = 0.75, 0.5, 4.0
#: A statement that has waited for the gate may take its time to be earlier than that of
#: the one it has waited for, by less than this (seconds).
SKEW = 1.0
#: Relays release held deliveries a little faster than the rate, so that one that is
#: refused a token costs nothing; not more often than this, and not for longer (seconds).
AHEAD, RELEASE_EVERY, RELEASE_FOR = 1.05, 0.2, 1.0


@dataclass(slots=True)
class Block:
    """Tokens that a process has taken and may use until they are void."""

    size: int = 1
    left: int = 0
    taken_at: float = 0.0

    def use(self, wanted: int, now: float) -> int:
        """Use up to so many tokens; return how many there were."""
        if now >= self.taken_at + KEEP_SECONDS:
            return 0
        used = min(wanted, self.left)
        self.left -= used
        return used

    def next_size(self, now: float) -> int:
        """Return as many as are used in KEEP_SECONDS, at most twice as many as last.

        Too many would be lost, and others refused for them.
        """
        if self.left:
            return max(1, self.size - self.left)
        lasted = max(now - self.taken_at, 1e-3)
        return max(1, int(self.size * min(KEEP_SECONDS / lasted, 2.0)))

    def refill(self, size: int, now: float) -> None:
        """Replace the block by a new one."""
        self.size = self.left = size
        self.taken_at = now


_using = threading.Lock()
_blocks: dict[tuple[str, str], Block] = {}


def _after_fork() -> None:
    global _using
    _using = threading.Lock()
    _blocks.clear()


os.register_at_fork(after_in_child=_after_fork)


def take(gate: str, database: str, rate: float, wanted: int) -> int:
    """Take tokens for deliveries that start now; return how many, 0 if none is due.

    At most a block of ``rate`` (tokens per second). See Note [Rates]. One statement, in
    a transaction of its own, unless this process still has tokens.
    """
    now = time.monotonic()
    with _using:
        block = _blocks.setdefault((database, gate), Block())
        if used := block.use(wanted, now):
            return used
        size = min(max(wanted, block.next_size(now)), max(1, int(rate * BLOCK_SECONDS)))
    if not _take_block(gate, database, rate, size):
        return 0
    with _using:
        block.refill(size, now)
        return block.use(wanted, now)


def give_back(gate: str, database: str, tokens: int) -> None:
    """Keep tokens for which nothing was started, as long as their block lasts."""
    with _using:
        if block := _blocks.get((database, gate)):
            block.left = min(block.left + tokens, block.size)


def _take_block(gate: str, database: str, rate: float, size: int) -> bool:
    with transaction.atomic(using=database):
        do_not_wait_for_the_disk(database)
        if _advance(gate, database, rate, size):
            return True
        gates = Gate.objects.using(database).filter(pk=gate)
        if gates.exists():
            return False
        make_gate(gate, database)
        return _advance(gate, database, rate, size)


def _advance(gate: str, database: str, rate: float, size: int) -> bool:
    """Move the time of the next token on; False if that has not come yet."""
    now = DatabaseNow()
    is_due = Q(next_token_at__isnull=True) | Q(next_token_at__lte=now)
    is_due |= Q(next_token_at__gt=from_now(_ahead(rate)))
    earliest = from_now(-(LOW_TOLERANCE if rate < LOW_RATE else TOLERANCE))
    known = Least(Coalesce("next_token_at", earliest), now)
    last: Any = Greatest(known, earliest)
    delta = timedelta(seconds=min(size / rate, MAX_SECONDS))
    step = Value(delta, output_field=DurationField())
    following = ExpressionWrapper(last + step, output_field=DateTimeField())
    gates = Gate.objects.using(database).filter(is_due, pk=gate)
    return bool(gates.update(next_token_at=following))


def _ahead(rate: float) -> float:
    """Return in how many seconds the next token may be taken, at the latest."""
    return min(max(1 / rate, BLOCK_SECONDS), MAX_SECONDS) + SKEW


def releasable(gate: str, database: str, rate: float) -> int:
    """Return how many held deliveries a relay may release now, for all relays.

    Those for which there were tokens since the last release, and at least one when a
    token is due. The caller has to release them.
    """
    with transaction.atomic(using=database):
        row, now = locked_gate(gate, database)
        longest = min(max(RELEASE_FOR, 1 / rate), MAX_SECONDS)
        last = row.released_at
        if last is not None and last > now:  # the clock was set back
            last = None
        since = max(last or now, now - timedelta(seconds=longest))
        passed = (now - since).total_seconds()
        if last is not None and passed < RELEASE_EVERY:
            return 0
        number = int(passed * rate * AHEAD)
        if not number and not _is_due(row.next_token_at, rate, now):
            return 0
        used = timedelta(seconds=min(number / (rate * AHEAD), passed))
        released_at = since + used if number else now
        Gate.objects.using(database).filter(pk=gate).update(released_at=released_at)
    return max(number, 1)


def _is_due(moment: datetime | None, rate: float, now: datetime) -> bool:
    latest = now + timedelta(seconds=_ahead(rate))
    return moment is None or moment <= now or moment > latest


def is_turn(gate: str, database: str) -> bool:
    """Return True for one relay of all, and not more often than every RELEASE_EVERY."""
    is_due = Q(released_at__isnull=True) | Q(released_at__lte=from_now(-RELEASE_EVERY))
    is_due |= Q(released_at__gt=from_now(SKEW))  # the clock was set back
    gates = Gate.objects.using(database).filter(is_due, pk=gate)
    return bool(gates.update(released_at=DatabaseNow()))
