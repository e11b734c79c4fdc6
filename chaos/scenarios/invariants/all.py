"""The books of the shop after the storm: what must be there, beside what is there.

What was committed counts, whatever a request was answered; and what was answered with
yes must have been committed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import QuerySet

from chaos.scenarios.client import Yes
from chaos.scenarios.invariants.comparison import Entry, Observations, compare
from chaos.scenarios.invariants.emails import NOTIFIED, letters
from chaos.scenarios.invariants.stock import people, stock
from customers.models import Subscriber
from notifications.models import Notification
from orders.models import Order
from products.models import Review, StockMovement
from signal_tasks.models import Delivery, Event

# Letters that are not sent when they are not true any more.
WITHDRAWN = (
    "Your order {} is confirmed",
    "Part of your order {} is on back-order",
    "You get our newsletter",
)
AROUND = 1.0  # seconds by which the clocks of a fault and of a message may differ


@dataclass(frozen=True, kw_only=True)
class Books:
    """All entries, and how the messages and deliveries fared."""

    entries: list[Entry]
    forgotten: list[Yes]
    repeated: int
    unexplained: list[str]
    states: Counter[str]

    @property
    def balanced(self) -> bool:
        """Whether every promise was kept."""
        kept = all(entry.balanced for entry in self.entries)
        ended = set(self.states) <= {"succeeded"}
        return kept and ended and not self.forgotten and not self.unexplained


def close(observations: Observations) -> Books:
    """Compare everything."""
    copies = observations.copies
    deliveries = Delivery.objects.order_by().values_list("state", flat=True)
    return Books(
        entries=[
            *stock(observations),
            *people(),
            *letters(observations),
            _records(observations),
        ],
        forgotten=list(_forgotten(observations.said)),
        repeated=sum(len(times) - 1 for times in copies.values()),
        unexplained=list(_unexplained(copies, observations.made)),
        states=Counter(deliveries),
    )


def _records(observations: Observations) -> Entry:
    """The inbox beside the letters that came.

    One that was sent by a process that died before it could say so is sent again, and
    recorded then; unless it is not true any more.
    """
    return compare(
        "letter in the inbox",
        "has come",
        Notification.objects.values_list("message_id", flat=True),
        observations.copies,
        may=observations.about(WITHDRAWN),
    )


def _unexplained(
    copies: Mapping[str, list[float]], made: Iterable[tuple[float, str]]
) -> Iterator[str]:
    """The messages that came more often than somebody had a reason to send them.

    Each time a delivery is taken, its row says so. A take does not wait for the disk:
    one of the last second before PostgreSQL broke down may be gone with its number.
    """
    restarts = [when for when, name in made if name.startswith("PostgreSQL")]
    for message_id, times in copies.items():
        if len(times) > 1:
            key = message_id.strip("<>").partition("@")[0]
            takes = Delivery.objects.get(pk=key).lease
            undone = sum(times[0] - AROUND < when < times[-1] for when in restarts)
            if len(times) > takes + undone:
                yield f"{message_id} came {len(times)} times and was taken {takes}"


def _forgotten(said: Iterable[Yes]) -> Iterator[Yes]:
    """What the shop has said it did, and did not."""
    arrivals = StockMovement.objects.filter(kind=StockMovement.Kind.ARRIVED)
    payloads = Event.objects.filter(signal=NOTIFIED).values_list("payload", flat=True)
    gone = Subscriber.objects.filter(active=False)
    done = {
        "account": User.objects.values_list("username", flat=True),
        "confirmed": _numbers(Order.objects.exclude(confirmed_at=None)),
        "cancelled": _numbers(Order.objects.filter(status=Order.Status.CANCELLED)),
        "review": Review.objects.values_list("text", flat=True),
        "subscribed": Subscriber.objects.values_list("email", flat=True),
        "left": gone.values_list("email", flat=True),
        "notified": [json.loads(p)["kwargs"]["username"] for p in payloads],
        "arrived": arrivals.values_list("product__slug", flat=True),
    }
    there = Counter(Yes(what, of) for what, things in done.items() for of in things)
    yield from (Counter(said) - there).elements()


def _numbers(orders: QuerySet[Order]) -> list[str]:
    return [str(pk) for pk in orders.values_list("pk", flat=True)]
