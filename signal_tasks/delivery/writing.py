"""Write outcomes, guarded by the lease, with all that follows from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain, repeat
from typing import TypeVar

from django.db import Error, connections, transaction

from signal_tasks.db import failures
from signal_tasks.db.claim import Claimed
from signal_tasks.db.complete import complete, complete_and_look, is_one_statement
from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.db.session import drop
from signal_tasks.db.turns import Heads
from signal_tasks.delivery.failures import has_free_run, write_failure
from signal_tasks.delivery.outcome import Outcome, positions_given_up
from signal_tasks.delivery.process import process
from signal_tasks.exceptions import LeaseLost
from signal_tasks.models import Delivery
from signal_tasks.registry.registry import registry
from signal_tasks.states import State
from signal_tasks.steering import breaker

T = TypeVar("T")

#: Waits until a write is tried again after a fault of the database, the last one over
#: and over (seconds).
WRITE_AGAIN = (0.1, 0.5, 2.0)
#: When relays publish what a worker that gave a turn up has not gone on with (seconds).
FOLLOW_AFTER = 3.0
#: How long a process waits for a database that is away (seconds).
OUTAGE_SECONDS = 600.0


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
    heads = _complete(done, held) if done else None
    if len(done) < len(outcomes):
        outcomes, heads = _write_failures(outcomes), None
    return _noted(_move_on(outcomes, held, heads))


def _complete(done: Sequence[Outcome], held: Collection[int]) -> Heads | None:
    """Write successes; return what comes next in their sequences, if it is known."""
    claimed, heads = done[0].claimed, None
    ids, lease = [outcome.claimed.id for outcome in done], claimed.lease
    if any(outcome.claimed.sequence for outcome in done):
        behind = _moved(done, held)
        number, heads = complete_and_look(
            ids, behind, lease=lease, database=claimed.database
        )
    else:
        number = complete(ids, lease=lease, database=claimed.database)
    if number != len(done):
        raise LeaseLost("a lease was over before its receiver had finished")
    return heads


def _moved(outcomes: Sequence[Outcome], held: Collection[int]) -> dict[int, int]:
    """Return the sequences that move on to what others run, and how far."""
    over = positions_given_up(outcomes)
    return {sequence: over[sequence] for sequence in over.keys() - set(held)}


def _write_failures(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Write the failures among these outcomes; return all as they were written."""
    written, recorded = [], []
    for outcome in outcomes:
        if not outcome.succeeded:
            outcome, failure = write_failure(outcome)
            recorded += [failure] if failure else []
        written.append(outcome)
    failures.count(recorded, database=outcomes[0].claimed.database)
    return written


def _move_on(
    outcomes: Sequence[Outcome], held: Collection[int], heads: Heads | None
) -> Sequence[Outcome]:
    """Let those that wait behind what has finished run; note which ones are followed.

    This worker goes on with them. Should it die first, relays publish them: those that
    it holds when their lease is over.
    """
    if not any(each.claimed.sequence for each in outcomes):
        return outcomes
    rows = Delivery.objects.using(outcomes[0].claimed.database)
    ended = [
        each.claimed.id
        for each in outcomes
        if each.claimed.sequence and each.gives_up_turn and not each.succeeded
    ]
    if ended:
        rows.give_up_turns(ended, after=FOLLOW_AFTER)
    moved = _moved(outcomes, held)
    followed = rows.wake_behind(moved, after=FOLLOW_AFTER, heads=heads)
    if not followed:
        return outcomes
    return [
        replace(each, followed=True) if each.claimed.sequence in followed else each
        for each in outcomes
    ]


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
    change = breaker.note(receiver, claimed.database, results)
    if change is None:
        return outcomes
    return [*outcomes[:-1], replace(outcomes[-1], breaker=change)]


def _has_breaker(claimed: Claimed) -> bool:
    receiver = registry.receiver(claimed.receiver)
    return receiver is not None and receiver.options.breaker is not None


def write_apart(
    outcomes: Sequence[Outcome], held: Collection[int] = ()
) -> Sequence[Outcome]:
    """Write outcomes of one claim, all or none, in a transaction of their own.

    Returns and raises what ``write`` does. A single success is a single statement,
    and needs no more of a transaction than that, unless a breaker counts it.
    """
    single = len(outcomes) == 1 and _is_one_statement(outcomes[0], held)
    database = outcomes[0].claimed.database
    with nullcontext() if single else transaction.atomic(using=database):
        return write(outcomes, held)


def _is_one_statement(outcome: Outcome, held: Collection[int]) -> bool:
    claimed = outcome.claimed
    if not outcome.succeeded or _has_breaker(claimed):
        return False
    if not claimed.sequence:
        return True
    return claimed.sequence in held and is_one_statement(claimed.database)


def write_single(outcome: Outcome, held: Collection[int] = ()) -> Outcome:
    """Write an outcome by itself; return it as it was written.

    Raises ``LeaseLost`` as ``write`` does.
    """
    if outcome.free and has_free_run(outcome.claimed):
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
