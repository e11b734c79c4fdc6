"""Process one message: claim what is due, have it run, release the rest.

# Note [Unclaimed deliveries]
A delivery that a message names and the worker does not claim stays ``pending``: any
other copy may claim it. What was claimed but not started is released, uncounted. What
may not start now is held before it is claimed: Note [Holding] in ``steering.holding``.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from django.db import Error

from signal_tasks import signals
from signal_tasks.broker.config import is_eager
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import publisher
from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.delivery.batch import Batch
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.claims import Claims
from signal_tasks.delivery.order import Order
from signal_tasks.delivery.outcome import Outcome
from signal_tasks.delivery.process import process
from signal_tasks.delivery.result import MessageResult
from signal_tasks.delivery.writing import persist
from signal_tasks.models import Delivery
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.registry.settled import settled_signals
from signal_tasks.settling import settle
from signal_tasks.states import Hold, State
from signal_tasks.steering import breaker, rates
from signal_tasks.steering.gates import (
    Permit,
    at_gates_of_signals,
    is_limited,
)
from signal_tasks.steering.holding import hold
from signal_tasks.steering.snapshot import snapshot

T = TypeVar("T")

#: Ids of one message that are looked at; ours never have more.
MAX_IDS = 10_000


def process_message(
    name: str,
    ids: object,
    database: object,
    *,
    seconds: float | None = None,
    follows: bool = True,
) -> MessageResult:
    """Run those of ``ids`` that are due for receiver ``name``.

    The body of every receiver's task. Whatever is not a due delivery of this receiver
    is ignored, so any message may arrive any number of times. After ``seconds``
    (MESSAGE_SECONDS) the rest is published anew. Where the receiver is ordered, a
    message that ``follows`` goes on with what waits behind the deliveries that it ran.
    """
    wanted = _delivery_ids(ids)
    receiver = registry.receiver(name)
    if receiver is None or database not in outbox_aliases():
        return MessageResult(not_due=len(wanted))
    if seconds is None:
        seconds = math.inf if is_eager() else settings().MESSAGE_SECONDS
    with process.message():
        run = MessageRun(receiver, str(database), seconds)
        if receiver.options.ordered:
            run.order = Order(str(database), follows=follows)
        return run.run(wanted)


def _delivery_ids(ids: object) -> list[uuid.UUID]:
    """Parse the delivery ids. Messages are untrusted: ignore anything else."""
    if not isinstance(ids, list | tuple):
        return []
    wanted: dict[uuid.UUID, None] = {}
    for text in ids[:MAX_IDS]:
        try:
            wanted[uuid.UUID(text)] = None
        except (ValueError, TypeError, AttributeError):
            continue
    return list(wanted)


class MessageRun:
    """One worker's work on one message: owns the time and the claims."""

    def __init__(self, receiver: Receiver, database: str, seconds: float) -> None:
        self.receiver = receiver
        self.database = database
        self.result = MessageResult()
        self.order: Order | None = None
        self._until = time.monotonic() + seconds
        self._size = process.size_of(receiver.name)
        self._claims = Claims(receiver, database)

    def run(self, ids: Sequence[uuid.UUID]) -> MessageResult:
        """Claim and run batch after batch until all is done or the time is up."""
        rest = deque(ids)
        try:
            while self._has_more(rest) and not self._is_over():
                before = len(self.result.outcomes)
                self._advance(rest)
                self._settle(self.result.outcomes[before:])
        except Error:
            raise  # publishing is of no use before the relay can read the rows again
        # Whatever it is: what was not run need not wait for the relay.
        except Exception:
            self._leave(rest)
            raise
        self._leave(rest)
        return self.result

    def _has_more(self, rest: deque[uuid.UUID]) -> bool:
        """Return True if something is left to claim; add what follows in its order."""
        if not rest and self.order is not None and not self._is_over():
            rest.extend(self.order.more())
        return bool(rest)

    def _leave(self, rest: deque[uuid.UUID]) -> None:
        """Publish what this message has not come to; in order, only what comes next."""
        if self.order is not None:
            self.order.leave(rest)
            rest = deque(self.order.close())
            self.result.not_due += self.order.not_due
        self.publish(rest)

    def _add_next(self, rest: deque[uuid.UUID]) -> None:
        """Add what would come next in its order, had this message gone on."""
        if self.order is not None:
            known = set(rest)
            rest.extend(pk for pk in self.order.close() if pk not in known)

    def _is_over(self) -> bool:
        has_begun = bool(self.result.outcomes or self.result.isolated)
        time_is_up = time.monotonic() >= self._until and has_begun
        return process.must_stop or time_is_up

    def _advance(self, rest: deque[uuid.UUID]) -> None:
        """Run a batch of the rest; or hold all of it, if nothing may start now."""
        wanted = self._wanted(rest)
        if not wanted:
            return
        before = len(self.result.outcomes)
        permitted = self._claims.permit(wanted)
        size = min(permitted.count, wanted)
        started = time.monotonic()
        ids = self._without_paused_signals([rest.popleft() for _ in range(size)])
        jobs = self._claims.claim(ids, permitted) if ids else []
        if size and jobs is not None:
            rest.extendleft(reversed(self._run_batch(ids, jobs)))
            seconds = time.monotonic() - started
            self._size.deliveries = _next_size(size, seconds)
        else:
            why = permitted.why or Hold.LIMITED
            self._add_next(rest)
            self._hold([*ids, *rest], self.receiver.oldest_name, why)
            rest.clear()
        self._give_back(permitted, len(self.result.outcomes) - before)

    def _wanted(self, rest: deque[uuid.UUID]) -> int:
        """Return how many to claim at once; leave out of the rest what has to wait."""
        order = self.order
        if order is not None and self._is_limited():
            self._claims.reconnecting(lambda: order.set_aside(rest))
        most = self.receiver.options.batch or self._size.deliveries
        wanted = min(most, len(rest))
        return wanted if order is None else order.size(rest, wanted)

    def _is_limited(self) -> bool:
        return is_limited(self.receiver, snapshot(self.database))

    def _give_back(self, permitted: Permit, ran: int) -> None:
        """Give back what was permitted to start, and has not."""
        if permitted.probe and not ran:
            breaker.tell(breaker.give_back(self.receiver, self.database))
        if permitted.tokens > ran:
            unused = permitted.tokens - ran
            rates.give_back(self.receiver.oldest_name, self.database, unused)

    def _hold(self, ids: Sequence[uuid.UUID], gate: str, why: Hold) -> None:
        """Hold what may not start now; the rest of these ids is not due."""
        database = self.database
        held = persist(database, lambda: hold(ids, gate, why, database=database))
        self.result.held += held
        self.result.not_due += len(ids) - held

    def _without_paused_signals(self, ids: list[uuid.UUID]) -> list[uuid.UUID]:
        """Hold the deliveries of paused signals; return the others."""
        at_gates = at_gates_of_signals(ids, self.database)
        for gate, some in at_gates.items():
            self._hold(some, gate, Hold.PAUSED)
        held = {pk for some in at_gates.values() for pk in some}
        return [pk for pk in ids if pk not in held] if held else ids

    def _run_batch(
        self, ids: Sequence[uuid.UUID], jobs: Sequence[Job]
    ) -> list[uuid.UUID]:
        """Run what was claimed of these ids; return what a breaker has kept back."""
        if self.order is None:
            self.result.not_due += len(ids) - len(jobs)
        else:
            self.order.refuse(set(ids) - {job.claimed.id for job in jobs})
        started = bool(self.result.outcomes)
        batch = Batch(self.receiver, self.database, jobs)
        done = batch.run(until=self._until, started=started)
        self.result.outcomes += done.outcomes
        self.result.fenced += done.fenced
        self.result.hook_errors += done.hook_errors
        if self.order is not None:
            self.order.note(done.outcomes)
            self.order.leave(self.release(done.behind))
        if done.isolated:
            self._isolate(done.isolated)
        released = self.release(done.not_run)
        if batch.is_broken and done.error is None:
            return released
        if self.order is not None and done.error is None:
            self.order.leave(released)
            return []
        self.publish(released)
        if done.error is not None:
            raise done.error
        return []

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        """Have ``settled`` sent for events of which these were the last: Note [Settling]."""
        if not settled_signals:
            return
        finished = {
            outcome.claimed.event_id
            for outcome in outcomes
            if outcome.state is not State.PENDING
            and settled_signals.find(outcome.claimed.signal) is not None
        }
        if finished:
            settle(finished, database=self.database)

    def release(self, jobs: Sequence[Job] | deque[Job]) -> list[uuid.UUID]:
        """Release what was claimed and not run; see Note [Unclaimed deliveries].

        Return the ids, which are to be published again.
        """
        if not jobs:
            return []
        ids = [job.claimed.id for job in jobs]
        rows = Delivery.objects.using(self.database)
        lease = jobs[0].claimed.lease
        released = persist(self.database, lambda: rows.release(ids, lease))
        self.result.released += released
        return ids

    def _isolate(self, jobs: Sequence[Job]) -> None:
        """Release what may have made a call fail; relays publish each by itself."""
        ids, lease = [job.claimed.id for job in jobs], jobs[0].claimed.lease
        rows = Delivery.objects.using(self.database)
        self.result.isolated += persist(
            self.database, lambda: rows.release(ids, lease, isolated=True)
        )

    def publish(self, ids: Sequence[uuid.UUID] | deque[uuid.UUID]) -> None:
        """Publish again, in messages of about the size that was just managed."""
        if not ids:
            return
        publisher.submit(
            PublishRequest(
                receiver=self.receiver.name,
                database=self.database,
                ids=[str(pk) for pk in ids],
                chunk=max(len(self.result.outcomes), self.receiver.options.batch or 1),
            )
        )
        details = signals.DeliveriesReleased(
            receiver=self.receiver.name, database=self.database, count=len(ids)
        )
        signals.deliveries_released.send_robust(Delivery, details=details)


def _next_size(ran: int, seconds: float) -> int:
    """Return as many as fit into GROUP_SECONDS, at most four times as many as now."""
    fitting = int(ran * settings().GROUP_SECONDS / max(seconds, 1e-6))
    return max(1, min(fitting, 4 * ran, settings().CHUNK_SIZE))
