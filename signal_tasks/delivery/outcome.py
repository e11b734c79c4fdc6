"""The outcome of an attempt, and how it is written, guarded by the lease."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, TypeVar

from django.db import Error, connections, transaction
from django.db.models import F

from signal_tasks import signals
from signal_tasks.conf import settings
from signal_tasks.db import failures
from signal_tasks.db.claim import Claimed
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.complete import complete, is_one_statement
from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.db.failures import Failure
from signal_tasks.db.session import drop
from signal_tasks.delivery.process import process
from signal_tasks.error_text import MAX_CHARS, printable, text_of
from signal_tasks.exceptions import LeaseLost, Retry, WorkerLost
from signal_tasks.fingerprints import fingerprint
from signal_tasks.models import Attempt, Delivery
from signal_tasks.registry.registry import registry
from signal_tasks.states import Reason, State
from signal_tasks.steering import breaker

T = TypeVar("T")

#: Times that one attempt may lose its connection before it counts.
FREE_RUNS = 3
#: Waits until a write is tried again after a fault of the database, the last one over
#: and over (seconds).
WRITE_AGAIN = (0.1, 0.5, 2.0)
#: When relays publish what a worker that gave a turn up has not gone on with (seconds).
FOLLOW_AFTER = 3.0
#: How long a process waits for a database that is away (seconds).
OUTAGE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one attempt.

    ``pending`` means another attempt in ``retry_in`` seconds, which ``counts``. One that
    does not is repeated ``most`` times, if that is not None. An attempt that is ``free`` is ``released`` instead, as often as FREE_RUNS allows.
    One that is ``spoilt`` has left a connection that nothing else may use. One that
    ``breaks`` is a failure that the receiver's breaker counts; ``breaker`` is what that
    has changed.
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
    breaker: signals.BreakerChanged | None = None

    @property
    def succeeded(self) -> bool:
        """True if the receiver returned."""
        return self.state is State.SUCCEEDED

    @property
    def gives_up_turn(self) -> bool:
        """True if what waits behind this delivery may run, once this is written."""
        if self.state is not State.DEAD:
            return self.state is not State.PENDING
        receiver = registry.receiver(self.claimed.receiver)
        return receiver is not None and receiver.skips_dead


def write(outcomes: Sequence[Outcome], held: Collection[int] = ()) -> Sequence[Outcome]:
    """Write outcomes of one claim in the transaction that is open.

    Turns are given up with them. What comes next in a sequence that is ``held`` runs
    under the same lease. Return them as they were written: what was deferred
    too often is dead. Raises ``LeaseLost`` when this worker no longer holds one of the
    deliveries: then nothing of the transaction may stand.
    """
    if not outcomes:
        return outcomes
    done = [outcome for outcome in outcomes if outcome.succeeded]
    if done and _complete(done) != len(done):
        raise LeaseLost("a lease was over before its receiver had finished")
    if len(done) < len(outcomes):
        outcomes = _write_failures(outcomes)
    _move_on(outcomes, held)
    return _noted(outcomes)


def _complete(done: Sequence[Outcome]) -> int:
    claimed = done[0].claimed
    return complete(
        [outcome.claimed.id for outcome in done],
        lease=claimed.lease,
        database=claimed.database,
        ordered=any(outcome.claimed.sequence for outcome in done),
    )


def _write_failures(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Write the failures among these outcomes; return all as they were written."""
    written, recorded = [], []
    for outcome in outcomes:
        if not outcome.succeeded:
            outcome, failure = _write_failure(outcome)
            recorded += [failure] if failure else []
        written.append(outcome)
    failures.count(recorded, database=outcomes[0].claimed.database)
    return written


def _move_on(outcomes: Sequence[Outcome], held: Collection[int]) -> None:
    """Let those that wait behind what has finished run.

    This worker goes on with them. Should it die first, relays publish them: those that
    it holds when their lease is over.
    """
    if not any(each.claimed.sequence for each in outcomes):
        return
    over = positions_given_up(outcomes)
    rows = Delivery.objects.using(outcomes[0].claimed.database)
    ended = [
        each.claimed.id
        for each in outcomes
        if each.claimed.sequence and each.gives_up_turn and not each.succeeded
    ]
    if ended:
        rows.give_up_turns(ended, after=FOLLOW_AFTER)
    moved = {sequence: over[sequence] for sequence in over.keys() - set(held)}
    if moved:
        rows.wake_behind(moved, after=FOLLOW_AFTER)


def positions_given_up(outcomes: Iterable[Outcome]) -> dict[int, int]:
    """Return the sequences that these outcomes have moved on, and how far."""
    positions: dict[int, int] = {}
    for outcome in outcomes:
        claimed = outcome.claimed
        if claimed.sequence and outcome.gives_up_turn:
            last = positions.get(claimed.sequence, 0)
            positions[claimed.sequence] = max(last, claimed.position)
    return positions


def _noted(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Count outcomes for the breaker of their receiver, if it has one."""
    claimed = outcomes[0].claimed
    receiver = registry.receiver(claimed.receiver)
    if receiver is None or receiver.options.breaker is None:
        return outcomes
    results = [
        breaker.Result(each.succeeded, each.breaks, each.claimed.probe, each.error)
        for each in outcomes
    ]
    change = breaker.note(
        receiver.name, claimed.database, receiver.options.breaker, results
    )
    if change is None:
        return outcomes
    return [*outcomes[:-1], replace(outcomes[-1], breaker=change)]


def write_apart(
    outcomes: Sequence[Outcome], held: Collection[int] = ()
) -> Sequence[Outcome]:
    """Write outcomes of one claim, all or none, in a transaction of their own.

    Returns and raises what ``write`` does. A single success is a single statement,
    and needs no more of a transaction than that.
    """
    single = len(outcomes) == 1 and _is_one_statement(outcomes[0], held)
    database = outcomes[0].claimed.database
    with nullcontext() if single else transaction.atomic(using=database):
        return write(outcomes, held)


def _is_one_statement(outcome: Outcome, held: Collection[int]) -> bool:
    sequence = outcome.claimed.sequence
    if not sequence:
        return outcome.succeeded
    in_order = sequence in held and is_one_statement(outcome.claimed.database)
    return outcome.succeeded and in_order


def write_single(outcome: Outcome, held: Collection[int] = ()) -> Outcome:
    """Write an outcome by itself; return it as it was written.

    Raises ``LeaseLost`` as ``write`` does.
    """
    if outcome.free and _has_free_run(outcome.claimed):
        outcome = replace(
            outcome, state=State.PENDING, reason="", retry_in=0.0, released=True
        )
    (written,) = write_apart([outcome], held)
    return written


def persist(database: str, change: Callable[[], T]) -> T:
    """Make a change, again and again while a fault of the database undoes it.

    A worker can do nothing else without its database, so it waits for it, but not
    longer than OUTAGE_SECONDS, nor once the process has to stop.
    """
    until = time.monotonic() + OUTAGE_SECONDS
    for tried, wait in enumerate(chain(WRITE_AGAIN, repeat(WRITE_AGAIN[-1])), 1):
        try:
            return change()
        except Error as error:
            fault = fault_of(error)
            given_up = tried > len(WRITE_AGAIN) and (
                process.must_stop or time.monotonic() > until
            )
            if fault is Fault.CONNECTION:
                drop(database)
            if (
                given_up
                or connections[database].in_atomic_block
                or fault not in (Fault.CONNECTION, Fault.TRANSACTION)
            ):
                raise
        time.sleep(wait)
    raise AssertionError("unreachable")


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


def _write_failure(outcome: Outcome) -> tuple[Outcome, Failure | None]:
    """Write what has failed; return it as written, and what is left to be counted."""
    deferrals = [] if outcome.counts else _deferrals(outcome.claimed)
    if outcome.most and sum(each.times for each in deferrals) + 1 >= outcome.most:
        outcome = _deferred_too_often(outcome)
    _change_row(outcome)
    if outcome.error is None:
        return outcome, None
    return outcome, _record(outcome, outcome.error, deferrals)


def _change_row(outcome: Outcome) -> None:
    claimed = outcome.claimed
    rows = Delivery.objects.using(claimed.database)
    if outcome.released:
        changed = rows.release([claimed.id], claimed.lease, isolated=True)
    elif outcome.state is State.PENDING:
        changed = rows.schedule_retry(
            [claimed.id], claimed.lease, delay=outcome.retry_in, counts=outcome.counts
        )
    else:
        changed = rows.finish(
            [claimed.id], claimed.lease, outcome.state, outcome.reason
        )
    if changed != 1:
        raise LeaseLost(f"{claimed} is no longer held by this worker")


def was_deferred(claimed: Claimed) -> bool:
    """Return True if the receiver had itself run again without spending an attempt."""
    return bool(_deferrals(claimed))


def _deferrals(claimed: Claimed) -> list[Attempt]:
    """Return the records of what was deferred since the send, or the last replay.

    One for each number of an attempt.
    """
    rows = Attempt.objects.using(claimed.database).filter(
        delivery_id=claimed.id,
        run=claimed.run,
        consequence=Attempt.Consequence.DEFERRED,
    )
    return list(rows.only("number", "times"))


def _deferred_too_often(outcome: Outcome) -> Outcome:
    error = outcome.error
    if error is not None:
        last = f"the last time: {text_of(error)}"
        asked = f"asked {outcome.most} times to be run again without an attempt"
        error = Retry(f"{asked}; {last}").with_traceback(error.__traceback__)
    dead, reason = State.DEAD, Reason.EXHAUSTED
    return replace(outcome, state=dead, reason=reason, error=error)


def _has_free_run(claimed: Claimed) -> bool:
    """Return True if this attempt may be released once more, without being counted."""
    rows = Attempt.objects.using(claimed.database).filter(
        delivery_id=claimed.id,
        run=claimed.run,
        number=claimed.attempt,
        consequence=Attempt.Consequence.RELEASED,
    )
    return rows.exclude(error_type=WorkerLost.__qualname__).count() < FREE_RUNS


def _record(
    outcome: Outcome, error: BaseException, deferrals: Sequence[Attempt]
) -> Failure:
    """Record a failure; one that is deferred again in the record that it has."""
    claimed = outcome.claimed
    consequence = _consequence(outcome)
    rows = Attempt.objects.using(claimed.database)
    text = printable(text_of(error))[:MAX_CHARS]
    found = fingerprint(claimed.receiver, error)
    facts: dict[str, Any] = {
        "error_type": printable(type(error).__qualname__)[:255],
        "error": text,
        "traceback": printable(_traceback(error)),
        "worker": process.label()[:255],
        "task_id": process.task_id,
        "seconds": outcome.seconds,
        "fingerprint": found.value,
    }
    same = [each.pk for each in deferrals if each.number == claimed.attempt]
    if same and consequence is Attempt.Consequence.DEFERRED:
        again = {"times": F("times") + 1, "failed_at": DatabaseNow()}
        rows.filter(pk__in=same).update(**facts, **again)
    else:
        rows.create(
            delivery_id=claimed.id,
            run=claimed.run,
            number=claimed.attempt,
            consequence=consequence,
            **facts,
        )
    return Failure(found, claimed.receiver, text)


def _consequence(outcome: Outcome) -> Attempt.Consequence:
    if outcome.released:
        return Attempt.Consequence.RELEASED
    if outcome.state is State.DEAD:
        return Attempt.Consequence.DEAD
    retried, deferred = Attempt.Consequence.RETRIED, Attempt.Consequence.DEFERRED
    return retried if outcome.counts else deferred


def _traceback(error: BaseException) -> str:
    """Return the end of the traceback, where the cause is, bounded in length.

    What the error says is bounded first, so that it leaves room for the frames.
    """
    try:
        text = "".join(map(_bounded, traceback.format_exception(error)))
    # As in ``text_of``: formatting calls the exception's own methods.
    except Exception:  # noqa: BLE001
        return ""
    return text[-settings().MAX_TRACEBACK_CHARS :]


def _bounded(part: str) -> str:
    if len(part) <= MAX_CHARS:
        return part
    return f"{part[: MAX_CHARS // 2]} ... {part[-MAX_CHARS // 2 :]}"
