"""A problem as a value: the sentence that a person reads, and how it is told apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of problems; the value is what programs see."""

    DEAD = "dead_letters"  # deliveries died, and nobody has looked
    WAIT = "oldest_wait"  # a due delivery has waited for too long
    NO_WORKER = "no_worker"  # none is alive, or none consumes a queue
    BROKER = "broker_away"  # workers had to do with a broker that failed
    BREAKER = "breaker_open"  # the breaker of a receiver is not closed
    OPERATION = "stuck_operation"  # no relay moves an operation
    ORPHANS = "unknown_receiver"  # no worker knows the receiver of a delivery
    PARKED = "unpublishable"  # messages of a receiver cannot be made or routed
    BLOCKED = "blocked_key"  # deliveries of keys wait behind dead letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with the deliveries of a database.

    Attributes:
        kind: what kind of problem it is.
        text: a sentence with the command that mends it.
        subject: what it is about: a receiver, a queue, an operation; or empty.
        page: the page of the dashboard about it, below the dashboard's own address.
        number: how many there are of it; more of them are news.
        latest: when the last one of them came; a later one is news.
    """

    kind: Kind
    text: str
    subject: str = ""
    page: str = ""
    number: int = 1
    latest: datetime | None = None
