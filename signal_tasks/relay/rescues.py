"""Count what relays publish in place of the senders.

# Note [Rescued deliveries]
In ordinary life a sender's publisher has published a delivery within milliseconds, and a
worker has claimed it before any relay looks at it. A delivery that a relay is the first to
publish, more than a second after it became due, was rescued: its sender died or could not
reach the broker, or its message waits in a queue that is longer than REPUBLISH_AFTER.

Each relay counts them in its pass, and writes the number of the last few minutes with its
reports, beside the last error of the broker in that time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from signal_tasks.models import MAX_PARKED, Delivery

#: How long a rescue is reported (seconds).
WINDOW = 300.0
#: What is published so long after it became due was left to the relay.
LATE = timedelta(seconds=1)


@dataclass(slots=True)
class Rescues:
    """The rescues of one relay on one database (times: monotonic)."""

    _counts: deque[tuple[float, int]] = field(default_factory=deque)
    _error: tuple[float, str] = (0.0, "")

    def count(self, published: Iterable[Delivery], *, now: float) -> int:
        """Count those of the published deliveries that were rescued; return them."""
        number = sum(map(_is_rescued, published))
        if number:
            self._counts.append((now, number))
        return number

    def note(self, error: BaseException, *, now: float) -> None:
        """Remember an error of the broker."""
        self._error = (now, str(error)[:MAX_PARKED])

    def facts(self, *, now: float) -> Mapping[str, object]:
        """Return what is reported of the last few minutes."""
        while self._counts and self._counts[0][0] < now - WINDOW:
            self._counts.popleft()
        noted_at, error = self._error
        return {
            "rescued": sum(number for _, number in self._counts),
            "broker_error": error if noted_at >= now - WINDOW else "",
        }


def _is_rescued(delivery: Delivery) -> bool:
    """Return True for a delivery that was never claimed or published before.

    What is delayed, retried or released becomes due when the relay looks at it.
    """
    if delivery.lease or delivery.publish_count or delivery.orphaned:
        return False
    looked_at = delivery.next_check_at
    return looked_at is not None and looked_at - delivery.available_at > LATE
