"""Which leases each process of a worker's pool holds, for the one that outlives it.

A pool process that is killed leaves its leases behind. Its main process lives on and
sees at once that it is gone; here it finds what it held. Kept in memory that the main
process shares with those it forks: nothing to clean up, and nothing that has to be
right. What is not found here is recovered when its lease is over.
"""

from __future__ import annotations

import json
import mmap
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Pool processes that are told apart, and what each can note down (bytes).
SLOTS, SIZE = 256, 16 * 1024


@dataclass(frozen=True, slots=True)
class Holding:
    """The leases of a dead process: by the id of the delivery."""

    database: str
    leases: dict[uuid.UUID, int]


class Holdings:
    """The shared memory: a slot for each process, by its id."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * SIZE)

    def note(self, database: str, leases: Mapping[uuid.UUID, int]) -> None:
        """Write down what this process holds from now on, in place of what it held."""
        facts = [
            os.getpid(),
            database,
            {str(pk): lease for pk, lease in leases.items()},
        ]
        text = json.dumps(facts).encode() + b"\0"
        start = os.getpid() % SLOTS * SIZE
        if len(text) <= SIZE:
            self._memory[start : start + len(text)] = text

    def of_the_dead(self) -> Iterator[Holding]:
        """What processes that are no more have held; each is told once."""
        for start in range(0, len(self._memory), SIZE):
            if self._memory[start] and (holding := self._left_behind(start)):
                self._memory[start] = 0
                yield holding

    def _left_behind(self, start: int) -> Holding | None:
        text = self._memory[start : start + SIZE].partition(b"\0")[0]
        try:
            pid, database, leases = json.loads(text)
            held = {uuid.UUID(pk): int(lease) for pk, lease in leases.items()}
        # It is being written, or its writer died over it: half of it is older.
        except (ValueError, TypeError, AttributeError):
            return None
        return None if _is_alive(pid) else Holding(database, held)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
