"""Leases held by each pool process, in memory shared with the main process.

A pool process that is killed leaves its leases behind. The main process sees at once
that it is gone, finds here what it held, and lets those leases end. Nothing has to be
right in this memory: what is not found here is recovered when its lease is over.
"""

from __future__ import annotations

import json
import mmap
import os
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass

#: Pool processes that are told apart, and the bytes that each may write.
SLOTS, SIZE = 256, 16 * 1024


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease of a process, and the deliveries that it covers."""

    database: str
    lease: int
    ids: tuple[uuid.UUID, ...]


class LeaseTable:
    """Shared memory with one slot for each pool process, found by its id."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * SIZE)

    def record(self, database: str, lease: int, ids: Collection[uuid.UUID]) -> None:
        """Record the lease that this process holds from now on, instead of the last."""
        facts = [os.getpid(), database, lease, [str(pk) for pk in ids]]
        text = json.dumps(facts).encode() + b"\0"
        start = os.getpid() % SLOTS * SIZE
        if len(text) <= SIZE:
            self._memory[start : start + len(text)] = text

    def leases_of_dead_processes(self) -> Iterator[HeldLease]:
        """Yield the leases of processes that are gone, each once."""
        for start in range(0, len(self._memory), SIZE):
            if self._memory[start] and (held := self._left_behind(start)):
                self._memory[start] = 0
                yield held

    def _left_behind(self, start: int) -> HeldLease | None:
        text = self._memory[start : start + SIZE].partition(b"\0")[0]
        try:
            pid, database, lease, ids = json.loads(text)
            held = HeldLease(database, int(lease), tuple(map(uuid.UUID, ids)))
        # Incomplete: its process is writing it, or died while it did.
        except (ValueError, TypeError, AttributeError):
            return None
        return None if _is_alive(pid) else held


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
