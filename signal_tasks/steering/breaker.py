"""Circuit breakers: a receiver that fails is left alone by the whole fleet.

# Note [Breakers]
Closed, the gate of a receiver counts consecutive failures, in the transactions that
write them. Enough of them within the window open it: nothing is claimed then, and no
attempt is spent. After the pause one delivery is the probe, won by a guarded UPDATE that
makes the breaker half open. Its success closes the breaker; its failure opens it again,
and does not spend its attempt. A probe that says nothing, or whose worker died, leaves
the next one to another delivery.

The window begins with the first failure: the next one after its end begins a new one.
Workers read the gate once for each batch of a receiver with a breaker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F, Q, QuerySet

from signal_tasks import signals
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.models import Gate
from signal_tasks.registry.options import Breaker
from signal_tasks.registry.registry import Receiver
from signal_tasks.states import Breaker as State
from signal_tasks.steering.locking import locked_gate


class Admission(Enum):
    """The deliveries that a breaker lets a worker claim."""

    ALL = auto()
    PROBE = auto()
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Count:
    """Consecutive failures, and when the first of them was."""

    failures: int = 0
    since: datetime | None = None

    def failed(self, breaker: Breaker, now: datetime) -> Count:
        """Return the count after one failure more."""
        if self.since is None or self.since < now - timedelta(seconds=breaker.window):
            return Count(1, now)
        return Count(self.failures + 1, self.since)


def count(
    before: Count, results: Iterable[bool], breaker: Breaker, now: datetime
) -> Count:
    """Return the count after attempts in this order, True for a success.

    It stops where the breaker opens.
    """
    for succeeded in results:
        before = Count() if succeeded else before.failed(breaker, now)
        if before.failures >= breaker.failures:
            break
    return before


#: Gates of which this process knows that their receiver was failing, or that their
#: breaker was not closed, when it looked last.
_failing: set[tuple[str, str]] = set()
_open: set[tuple[str, str]] = set()


def is_open(receiver: Receiver, database: str) -> bool:
    """Return True if nothing may be started, as far as this process knows."""
    return (database, receiver.oldest_name) in _open


def disregard(receiver: Receiver, database: str) -> None:
    """Let the next batch run, whatever this process knows."""
    _open.discard((database, receiver.oldest_name))


def admit(receiver: Receiver, database: str) -> Admission:
    """Read the gate of a receiver with a breaker; return what may be claimed.

    One statement while it is closed. A PROBE is won by this call, and has to be run,
    or given back with ``give_back``.
    """
    rows: Any = _gate(receiver, database)
    gate = rows.annotate(now=DatabaseNow()).first()
    if gate is None:
        _see(receiver, database, Count(), State.CLOSED)
        return Admission.ALL
    _see(receiver, database, Count(gate.failures), gate.breaker)
    if gate.breaker == State.CLOSED:
        return Admission.ALL
    is_due = gate.probe_at is None or gate.probe_at <= gate.now
    if not is_due or not _begin_probe(receiver, database):
        return Admission.NONE
    tell(_change(receiver, database, State.HALF_OPEN, gate.failures))
    return Admission.PROBE


def _begin_probe(receiver: Receiver, database: str) -> bool:
    """Let one delivery probe, unless another worker was first.

    The probe counts as lost when its lease is over.
    """
    is_due = Q(probe_at__isnull=True) | Q(probe_at__lte=DatabaseNow())
    rows = _gate(receiver, database).filter(is_due)
    return bool(
        rows.exclude(breaker=State.CLOSED).update(
            breaker=State.HALF_OPEN,
            probe_at=from_now(receiver.lease_seconds),
            changed_at=DatabaseNow(),
        )
    )


def give_back(receiver: Receiver, database: str) -> signals.BreakerChanged | None:
    """Let another delivery probe at once: this one was not run, or has said nothing.

    Return what has changed, to be told after the commit.
    """
    return _open_again(receiver, database, {"probe_at": DatabaseNow()}, None)


class Result(NamedTuple):
    """The result of an attempt, for a breaker: one that says nothing is neither."""

    succeeded: bool
    failed: bool
    probe: bool = False
    error: BaseException | None = None


def note(
    receiver: Receiver, database: str, results: Sequence[Result]
) -> signals.BreakerChanged | None:
    """Count the attempts of one claim, in this order, in the transaction that is open.

    Return what has changed, to be told after the commit; nothing without a breaker.
    """
    breaker = receiver.options.breaker
    if breaker is None:
        return None
    if results[0].probe:
        return _note_probe(receiver, database, breaker, results[0])
    telling = [each for each in results if each.succeeded or each.failed]
    if any(each.failed for each in telling) or (
        telling and (database, receiver.oldest_name) in _failing
    ):
        return _note_all(receiver, database, breaker, telling)
    return None


def _note_probe(
    receiver: Receiver, database: str, breaker: Breaker, result: Result
) -> signals.BreakerChanged | None:
    if result.succeeded:
        return _close(receiver, database)
    if not result.failed:
        return give_back(receiver, database)
    failed = {"failures": F("failures") + 1, "probe_at": from_now(breaker.pause)}
    return _open_again(receiver, database, failed, result.error)


def _note_all(
    receiver: Receiver, database: str, breaker: Breaker, results: Sequence[Result]
) -> signals.BreakerChanged | None:
    with transaction.atomic(using=database):
        gate, now = locked_gate(receiver.oldest_name, database)
        if gate.breaker != State.CLOSED:
            _see(receiver, database, Count(gate.failures), gate.breaker)
            return None
        before = Count(gate.failures, gate.failing_since)
        after = count(before, (each.succeeded for each in results), breaker, now)
        opens = after.failures >= breaker.failures
        changes: dict[str, Any] = {
            "failures": after.failures,
            "failing_since": after.since,
        }
        if opens:
            changes |= {
                "breaker": State.OPEN,
                "changed_at": now,
                "probe_at": now + timedelta(seconds=breaker.pause),
            }
        _gate(receiver, database).update(**changes)
    state = State.OPEN if opens else State.CLOSED
    _see(receiver, database, after, state)
    if not opens:
        return None
    error = next((each.error for each in reversed(results) if each.failed), None)
    return _change(receiver, database, state, after.failures, error)


def _close(receiver: Receiver, database: str) -> signals.BreakerChanged | None:
    closed = _half_open(receiver, database).update(
        breaker=State.CLOSED,
        failures=0,
        failing_since=None,
        probe_at=None,
        changed_at=DatabaseNow(),
    )
    _see(receiver, database, Count(), State.CLOSED)
    return _change(receiver, database, State.CLOSED, 0) if closed else None


def _open_again(
    receiver: Receiver,
    database: str,
    changes: dict[str, Any],
    error: BaseException | None,
) -> signals.BreakerChanged | None:
    rows = _half_open(receiver, database)
    opened = {"breaker": State.OPEN, "changed_at": DatabaseNow()}
    if not rows.update(**opened, **changes):
        return None
    failures = _gate(receiver, database).values_list("failures", flat=True).get()
    return _change(receiver, database, State.OPEN, failures, error)


def _half_open(receiver: Receiver, database: str) -> QuerySet[Gate]:
    return _gate(receiver, database).filter(breaker=State.HALF_OPEN)


def _gate(receiver: Receiver, database: str) -> QuerySet[Gate]:
    return Gate.objects.using(database).filter(pk=receiver.oldest_name)


def _see(receiver: Receiver, database: str, seen: Count, state: str) -> None:
    key = (database, receiver.oldest_name)
    (_failing.add if seen.failures else _failing.discard)(key)
    (_open.discard if state == State.CLOSED else _open.add)(key)


def _change(
    receiver: Receiver,
    database: str,
    state: State,
    failures: int,
    error: BaseException | None = None,
) -> signals.BreakerChanged:
    return signals.BreakerChanged(
        receiver=receiver.name,
        database=database,
        state=state,
        failures=failures,
        error=error,
    )


def tell(change: signals.BreakerChanged | None) -> None:
    """Send the lifecycle signal of a change that is committed, if there is one."""
    if change is not None:
        signals.breaker_changed.send_robust(Gate, details=change)
