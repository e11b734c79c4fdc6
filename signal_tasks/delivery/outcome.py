"""The outcome of an attempt, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import Error

from signal_tasks import signals
from signal_tasks.db.claim import Claimed
from signal_tasks.delivery.process import process
from signal_tasks.error_text import text_of
from signal_tasks.exceptions import MissingInstance
from signal_tasks.models import Delivery
from signal_tasks.registry.registry import registry
from signal_tasks.states import State
from signal_tasks.steering import breaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one attempt.

    ``pending`` means another attempt in ``retry_in`` seconds, which ``counts``. One that
    does not is repeated ``most`` times, if that is not None. An attempt that is
    ``free`` is ``released`` instead, as often as FREE_RUNS allows. One that is
    ``spoilt`` has left a connection that nothing else may use. One that
    ``breaks`` is a failure that the receiver's breaker counts; ``breaker`` is what that
    has changed. One that is ``followed`` gave up its turn, and another delivery waits
    behind it.
    """

    claimed: Claimed
    state: State
    reason: str = ""
    retry_in: float = 0.0
    counts: bool = True
    most: int | None = None
    error: BaseException | None = None
    seconds: float = 0.0
    free: bool = False
    released: bool = False
    spoilt: bool = False
    breaks: bool = False
    followed: bool = False
    breaker: signals.BreakerChanged | None = None

    @property
    def succeeded(self) -> bool:
        """True if the receiver returned."""
        return self.state is State.SUCCEEDED

    @property
    def is_its_own(self) -> bool:
        """True if the receiver itself has failed, whatever ran before it.

        Errors of the database and missing rows may come from what a neighbour did in
        the same transaction.
        """
        if self.error is None or self.spoilt:
            return self.spoilt
        return not isinstance(self.error, Error | MissingInstance)

    @property
    def gives_up_turn(self) -> bool:
        """True if what waits behind this delivery may run, once this is written."""
        if self.state is not State.DEAD:
            return self.state is not State.PENDING
        receiver = registry.receiver(self.claimed.receiver)
        return receiver is not None and receiver.skips_dead


def positions_given_up(outcomes: Iterable[Outcome]) -> dict[int, int]:
    """Return the sequences that these outcomes have moved on, and how far."""
    positions: dict[int, int] = {}
    for outcome in outcomes:
        claimed = outcome.claimed
        if claimed.sequence and outcome.gives_up_turn:
            last = positions.get(claimed.sequence, 0)
            positions[claimed.sequence] = max(last, claimed.position)
    return positions


def send_signals(outcomes: Sequence[Outcome]) -> None:
    """Send the lifecycle signals of outcomes that are committed."""
    for outcome in outcomes:
        details = _attempt_finished(outcome)
        signals.attempt_finished.send_robust(Delivery, details=details)
        if outcome.state is State.DEAD:
            dead = signals.DeliveryDead(
                delivery_id=details.delivery_id,
                receiver=details.receiver,
                database=details.database,
                run=details.run,
                attempt=details.attempt,
                reason=details.reason,
                error=text_of(outcome.error) if outcome.error is not None else "",
            )
            signals.delivery_dead.send_robust(Delivery, details=dead)
        breaker.tell(outcome.breaker)


def _attempt_finished(outcome: Outcome) -> signals.AttemptFinished:
    claimed = outcome.claimed
    return signals.AttemptFinished(
        delivery_id=claimed.id,
        event_id=claimed.event_id,
        signal=claimed.signal,
        receiver=claimed.receiver,
        database=claimed.database,
        worker=process.label(),
        run=claimed.run,
        attempt=claimed.attempt,
        state=outcome.state,
        reason=outcome.reason,
        seconds=outcome.seconds,
        waited=claimed.waited,
        retry_in=outcome.retry_in if outcome.state is State.PENDING else None,
        error=outcome.error,
    )
