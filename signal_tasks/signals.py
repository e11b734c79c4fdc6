"""Lifecycle signals: plain Django signals that the engine sends about its own work.

Each carries one frozen object as ``details``, and is sent with ``send_robust`` in the
process in which it happens, after the commit of what it tells of. Only
``signal_sending`` comes before anything is written, and an exception of its listener
reaches the sender. Logs, metrics and your own listeners get the same.
``docs/reference/lifecycle_signals.md`` is the table of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.dispatch import Signal

from signal_tasks.states import Breaker, OperationState, State


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSending:
    """An ``AsyncSignal`` is being sent; nothing is written yet.

    Attributes:
        signal: the signal itself.
        sender: as it was given.
        kwargs: the keywords that are sent.
    """

    signal: Signal
    sender: Any
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished:
    """An attempt has finished, and its outcome is committed.

    Attributes:
        delivery_id: of the delivery.
        event_id: of its event.
        signal: name of the signal.
        receiver: name of the receiver.
        database: alias of the outbox.
        worker: name of the worker that ran it.
        run: number of the run, from 1; a replay begins the next one.
        attempt: number of the attempt in this run, from 1.
        state: of the delivery from now on; ``pending`` when it is run again.
        reason: why it is dead or was skipped, else empty.
        seconds: run time of the receiver; its share in that of a batch.
        waited: seconds from the due time to the claim, by the database's clock.
        retry_in: seconds until the next attempt, or None when there is none.
        error: what the receiver raised, or None.
    """

    delivery_id: uuid.UUID
    event_id: uuid.UUID
    signal: str
    receiver: str
    database: str
    worker: str
    run: int
    attempt: int
    state: State
    reason: str
    seconds: float
    waited: float
    retry_in: float | None
    error: BaseException | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDead:
    """A delivery has become a dead letter.

    Sent by the worker whose attempt was the last, and by the relay for a delivery
    whose workers died.

    Attributes:
        delivery_id: of the delivery.
        receiver: name of the receiver.
        database: alias of the outbox.
        run: number of the run, from 1; a replay begins the next one.
        attempt: number of the last attempt in this run.
        reason: ``exhausted``, ``rejected``, ``lost``, ``undecodable`` or ``missing``.
        error: text of the last error.
    """

    delivery_id: uuid.UUID
    receiver: str
    database: str
    run: int
    attempt: int
    reason: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFenced:
    """A worker found that it no longer holds the lease of a delivery.

    Attributes:
        delivery_id: of the delivery.
        receiver: name of the receiver.
        database: alias of the outbox.
    """

    delivery_id: uuid.UUID
    receiver: str
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitHookFailed:
    """A function that a receiver has left to ``transaction.on_commit`` has raised.

    Its delivery has succeeded, or its event has settled, and the hook is not run again.

    Attributes:
        receiver: name of the receiver; of the signal, for an inline one of ``settled``.
        database: alias of the outbox.
        error: what went wrong.
    """

    receiver: str
    database: str
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFailed:
    """A call of a batch receiver has failed; each of its deliveries is run alone.

    The outcome of each is told as that of any attempt.

    Attributes:
        receiver: name of the receiver.
        database: alias of the outbox.
        count: number of deliveries that it was called for.
        error: what the receiver raised, or what has lost its transaction.
    """

    receiver: str
    database: str
    count: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingFailed:
    """The signal ``settled`` could not be sent for an event.

    Attributes:
        event_id: of the event; None if it was not yet known for which events to send.
        signal: name of the signal that has settled, or empty.
        receiver: name of the one that does not get it, since its own ``when`` or key
            has failed; empty if nobody gets it.
        given_up: False if a relay tries again; True if nobody does.
        database: alias of the outbox.
        error: what went wrong.
    """

    event_id: uuid.UUID | None
    signal: str
    receiver: str
    given_up: bool
    database: str
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveriesReleased:
    """A worker publishes deliveries again that it did not run.

    Attributes:
        receiver: name of the receiver.
        database: alias of the outbox.
        count: number of deliveries.
    """

    receiver: str
    database: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationFailed:
    """The broker did not take messages in time, or a receiver's cannot be published.

    The deliveries stay pending, and a relay publishes them later.

    Attributes:
        error: what went wrong.
        receiver: name of the receiver whose messages cannot be made or routed, or that
            the broker refuses; None if the broker is at fault.
    """

    error: BaseException
    receiver: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassFinished:
    """A relay has finished a pass over one database.

    Attributes:
        database: alias of the outbox.
        published: deliveries whose ids went to the broker.
        recovered: deliveries whose lease was over.
        orphaned: deliveries whose receiver this process does not know, and that were no
            orphans before.
        pruned: deliveries that were deleted.
        parked: deliveries that cannot be published, for a reason of their receiver's.
        rescued: deliveries that were published late, as their sender did not do it or
            no worker came to them.
        held: deliveries that may not start now, and were not published.
        released: held deliveries that may start, and are due again.
    """

    database: str
    published: int
    recovered: int
    orphaned: int
    pruned: int
    parked: int = 0
    rescued: int = 0
    held: int = 0
    released: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PassFailed:
    """A pass of a relay has failed; the next one tries again.

    Attributes:
        database: alias of the outbox.
        error: what went wrong.
    """

    database: str
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged:
    """The breaker of a receiver has opened or closed, or lets one delivery probe.

    Sent by the worker that has changed it, once for the whole fleet.

    Attributes:
        receiver: name of the receiver.
        database: alias of the outbox.
        state: ``open``, ``half_open`` or ``closed``.
        failures: consecutive failures so far, those of probes included; 0 if closed.
        error: what the receiver raised last, if that has opened it, else None.
    """

    receiver: str
    database: str
    state: Breaker
    failures: int
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFinished:
    """An operation was finished in one outbox: done, cancelled or stopped.

    Attributes:
        operation_id: of the operation.
        kind: ``replay``, ``discard`` or ``backfill``.
        state: ``done``, ``cancelled``, or ``stopped`` by its canary or an error.
        database: alias of the outbox.
        total: number of deliveries, or None if they were not yet collected.
        done: deliveries that were changed.
        failed: deliveries that could not be changed, or failed again in a canary.
        skipped: deliveries that were in another state, or in another operation.
        by: who asked for it.
        reason: why.
        note: why it was stopped, or the last error.
    """

    operation_id: uuid.UUID
    kind: str
    state: OperationState
    database: str
    total: int | None
    done: int
    failed: int
    skipped: int
    by: str
    reason: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFailed:
    """Nobody was told of a problem over this channel; it is tried again in a minute.

    Attributes:
        channel: ``email``, or the dotted path of a callable; empty if a relay could not
            find out what there is to tell.
        database: alias of the outbox.
        error: what went wrong.
    """

    channel: str
    database: str
    error: BaseException


signal_sending = Signal()
"""Carries ``SignalSending``; the sender is the ``AsyncSignal``."""

attempt_finished = Signal()
"""Carries ``AttemptFinished``."""

delivery_dead = Signal()
"""Carries ``DeliveryDead``."""

delivery_fenced = Signal()
"""Carries ``DeliveryFenced``."""

commit_hook_failed = Signal()
"""Carries ``CommitHookFailed``."""

batch_failed = Signal()
"""Carries ``BatchFailed``."""

settling_failed = Signal()
"""Carries ``SettlingFailed``."""

deliveries_released = Signal()
"""Carries ``DeliveriesReleased``."""

publication_failed = Signal()
"""Carries ``PublicationFailed``."""

pass_finished = Signal()
"""Carries ``PassFinished``."""

pass_failed = Signal()
"""Carries ``PassFailed``."""

breaker_changed = Signal()
"""Carries ``BreakerChanged``."""

operation_finished = Signal()
"""Carries ``OperationFinished``."""

alert_failed = Signal()
"""Carries ``AlertFailed``."""
