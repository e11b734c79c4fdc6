"""The states of a delivery, and the reasons for which it is dead."""

from __future__ import annotations

from django.db.models import TextChoices


class State(TextChoices):
    """The state of a delivery; ``docs/state_machine.md`` draws the edges."""

    PENDING = "pending"  # waits for its time, for a message or for a worker
    RUNNING = "running"  # a worker has claimed it and holds its lease
    SUCCEEDED = "succeeded"  # its receiver has returned
    DEAD = "dead"  # failed for good; kept until it is replayed or discarded
    DISCARDED = "discarded"  # finished on purpose, without being done


class Reason(TextChoices):
    """The reason for which a delivery is dead (or, for ``missing``, was skipped)."""

    EXHAUSTED = "exhausted"  # it failed as often as its policy allows
    REJECTED = "rejected"  # the receiver or its policy refused it for good
    LOST = "lost"  # the workers that ran it died
    UNDECODABLE = "undecodable"  # its stored payload cannot be read
    MISSING = "missing"  # a row that its payload refers to is gone


LIVE = (State.PENDING, State.RUNNING)


class Hold(TextChoices):
    """The reason for which a pending delivery is held, and not published."""

    PAUSED = "paused"  # an operator has paused its receiver, signal or queue
    LIMITED = "limited"  # its receiver is at its rate, or runs as often as it may
    BREAKER = "breaker"  # the breaker of its receiver is open


class Breaker(TextChoices):
    """The state of a receiver's circuit breaker."""

    CLOSED = "closed"  # deliveries run
    OPEN = "open"  # none runs
    HALF_OPEN = "half_open"  # one runs, to see whether all may


class OperationState(TextChoices):
    """The state of an operation on many deliveries."""

    PENDING = "pending"  # no relay has come to it yet
    RUNNING = "running"  # relays work it off
    STOPPED = "stopped"  # its canary failed; it may be resumed
    CANCELLED = "cancelled"  # by an operator
    DONE = "done"


OPEN = (OperationState.PENDING, OperationState.RUNNING)
