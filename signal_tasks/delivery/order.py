"""Go on with the deliveries whose turn comes next, and leave those that have to wait.

A message of an ordered receiver does not end with the ids that it names: finishing a
delivery makes it the turn of another one, which would otherwise need a message of its
own.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Sequence

from signal_tasks.conf import settings
from signal_tasks.db.turns import Next, following
from signal_tasks.delivery.outcome import Outcome, positions_given_up
from signal_tasks.delivery.writing import persist
from signal_tasks.models import Delivery
from signal_tasks.steering.turns import keep_waiting

#: How often a message looks again at what it could not claim. While somebody else has
#: locked the first turn of its sequence, because it is just finishing: after this time,
#: then after twice that (seconds).
LOOKS, LOOK_AFTER = 5, 0.02


class Order:
    """The order in which one message runs its deliveries.

    ``follows`` says whether it goes on with deliveries that it does not name.
    """

    def __init__(self, database: str, *, follows: bool) -> None:
        self._database = database
        self._follows = follows
        self._moved: dict[int, int] = {}
        self._waiting: set[uuid.UUID] = set()
        self._offered: set[uuid.UUID] = set()  # due, and first of their sequences
        self._refused: set[uuid.UUID] = set()
        self._isolated: set[uuid.UUID] = set()
        self._looks = 0

    @property
    def not_due(self) -> int:
        """The number of deliveries that could not be claimed, each counted once."""
        return len(self._refused)

    def size(self, ids: Sequence[uuid.UUID], most: int) -> int:
        """Return how many of the first ids to claim at once: an isolated one alone."""
        if not self._isolated:
            return most
        for place, pk in enumerate(ids):
            if place < most and pk in self._isolated:
                return max(place, 1)
        return most

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Note which sequences have moved on to another delivery, and how far.

        What is sent behind the last one of a sequence has a message of its own.
        """
        self._moved |= positions_given_up(each for each in outcomes if each.followed)

    def set_aside(self, rest: deque[uuid.UUID]) -> None:
        """Leave out of the rest what could not be claimed now.

        What waits behind others must not use up what is limited.
        """
        ready = Delivery.objects.using(self._database).ready(rest)
        waiting = [pk for pk in rest if pk not in ready]
        self.refuse(waiting)
        for pk in waiting:
            rest.remove(pk)

    def refuse(self, ids: Collection[uuid.UUID]) -> None:
        """Note what could not be claimed.

        Leave to relays, which publish it ever more seldom, what a look has found due
        and first all the same: it is not this receiver's, or somebody has locked it. A
        message about it would be refused as well, and publish the next one at once.
        """
        self._refused.update(ids)
        self._waiting.update(set(ids) - self._offered)

    def leave(self, ids: Collection[uuid.UUID]) -> None:
        """Note what was not come to, or claimed and not run."""
        self._waiting.update(ids)

    def more(self) -> list[uuid.UUID]:
        """Return what may be claimed next, beyond what the message has named."""
        found = self._next(each=settings().CHUNK_SIZE) if self._follows else []
        while not found and self._waiting and self._looks < LOOKS:
            found = self._keep_waiting()
            if self._waiting and not found:
                time.sleep(LOOK_AFTER * 2**self._looks)
            self._looks += 1
        self._isolated |= {each.id for each in found if each.isolated}
        return self._ids(found)

    def close(self) -> list[uuid.UUID]:
        """Return what has to be published, since this message does not go on.

        The first of each key: the message that runs it goes on with those behind it.
        """
        found = self._next(each=1) if self._follows else []
        if self._waiting:
            found += self._keep_waiting()
        return self._ids(found)

    def _ids(self, found: Iterable[Next]) -> list[uuid.UUID]:
        ids = list(dict.fromkeys(each.id for each in found))
        self._refused.difference_update(ids)
        return ids

    def _next(self, *, each: int) -> list[Next]:
        """Return the next deliveries of what has moved, about ``each`` of all."""
        moved, self._moved = self._moved, {}
        if not moved:
            return []
        return following(moved, self._database, each=max(each // len(moved), 1))

    def _keep_waiting(self) -> list[Next]:
        waiting = self._waiting
        kept = persist(
            self._database, lambda: keep_waiting(waiting, database=self._database)
        )
        self._waiting = set(kept.undecided)
        if kept.are_first:
            self._offered.update(each.id for each in kept.due)
        return kept.due
