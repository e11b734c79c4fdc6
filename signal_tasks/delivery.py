"""Works one message off: takes what is owed, has it run, hands the rest back.

# Note [Untouched deliveries]
What a message names but the worker has not taken stays ``pending``: any other copy
may take it. What was taken but not started goes back without an attempt.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from collections.abc import Sequence

from django.db import DatabaseError, InterfaceError, connections

from signal_tasks import signals
from signal_tasks.attempts import BROKEN_TRANSACTION
from signal_tasks.broker import is_eager
from signal_tasks.calls import HandBack, Job
from signal_tasks.conf import settings
from signal_tasks.groups import Report, Runner, process
from signal_tasks.models import Delivery
from signal_tasks.outbox import aliases
from signal_tasks.publisher import Parcel, publisher
from signal_tasks.registry import Receiver, registry

#: Most ids that are looked at in one message; ours never have more.
MOST_IDS = 10_000
#: A lease outlives the receiver's soft time limit by this long (seconds).
LEASE_GRACE = 10.0


def work_off(
    name: str, ids: object, database: object, *, seconds: float | None = None
) -> Report:
    """Run those of ``ids`` that are owed to receiver ``name`` and due.

    The body of every receiver's task. What is not a delivery of this receiver, or
    not owed, is passed over, so any message may arrive any number of times. After
    ``seconds`` (``MESSAGE_SECONDS``) the rest is published anew.
    """
    report = Report()
    receiver = registry.receiver(name)
    wanted = _delivery_ids(ids)
    if receiver is None or database not in aliases():
        report.not_owed = len(wanted)
        return report
    if seconds is None:
        seconds = math.inf if is_eager() else settings().MESSAGE_SECONDS
    process.busy, process.overdue = True, False
    try:
        Shift(receiver, str(database), report, seconds).work_off(wanted)
    finally:
        process.busy = False
    return report


def _delivery_ids(ids: object) -> list[uuid.UUID]:
    """The ids in a message, of whatever a stranger may have put there."""
    if not isinstance(ids, list | tuple):
        return []
    wanted: dict[uuid.UUID, None] = {}
    for text in ids[:MOST_IDS]:
        try:
            wanted[uuid.UUID(text)] = None
        except (ValueError, TypeError, AttributeError):
            continue
    return list(wanted)


class Shift:
    """One worker's work on one message."""

    def __init__(
        self, receiver: Receiver, database: str, report: Report, seconds: float
    ) -> None:
        self.receiver = receiver
        self.database = database
        self.report = report
        self.until = time.monotonic() + seconds
        self.runner = Runner(receiver, database, report)
        timeout = receiver.options.timeout
        self.lease = settings().LEASE if timeout is None else timeout + LEASE_GRACE

    def work_off(self, ids: Sequence[uuid.UUID]) -> None:
        """Take group after group until all is done or the time is up."""
        rest = deque(ids)
        try:
            while rest and not self._is_over():
                size = min(self.runner.pace.size, len(rest))
                started = time.monotonic()
                self._work_off_group([rest.popleft() for _ in range(size)])
                self.runner.pace.size = _next_size(size, time.monotonic() - started)
        except (DatabaseError, InterfaceError):
            raise  # of no use before the relay can read the rows again
        # An ``on_commit`` hook of a receiver failed, after the commit.
        except Exception:
            self._resubmit(rest)
            raise
        self._resubmit(rest)

    def _is_over(self) -> bool:
        """Whether to begin nothing more; one delivery is always begun."""
        time_is_up = time.monotonic() >= self.until and bool(self.report.outcomes)
        return process.must_end or time_is_up

    def _work_off_group(self, ids: Sequence[uuid.UUID]) -> None:
        jobs = self._take(ids)
        self.report.not_owed += len(ids) - len(jobs)
        try:
            while jobs and not self._is_over():
                self.runner.run_next(jobs)
        except HandBack:
            process.stopping = True
            self.runner.drop_connection()
        finally:
            self._hand_back(jobs)

    def _take(self, ids: Sequence[uuid.UUID]) -> deque[Job]:
        """Take; once more with a new connection if the kept one was broken."""
        connection = connections[self.database]
        kept = connection.connection
        try:
            return self._taken(ids)
        except BROKEN_TRANSACTION:
            if kept is None or connection.in_atomic_block:
                raise
            connection.close()
            return self._taken(ids)

    def _taken(self, ids: Sequence[uuid.UUID]) -> deque[Job]:
        held_until = time.monotonic() + self.lease
        rows = Delivery.objects.using(self.database)
        taken = rows.take(ids, names=self.receiver.names, lease=self.lease)
        if taken and process.holdings is not None:
            process.holdings.note(self.database, {d.pk: d.lease for d in taken})
        return deque(
            Job(
                delivery=delivery,
                event=delivery.event,
                receiver=self.receiver,
                database=self.database,
                held_until=held_until,
            )
            for delivery in taken
        )

    def _hand_back(self, jobs: deque[Job]) -> None:
        """Owe again what was taken and not run; see Note [Untouched deliveries]."""
        if not jobs:
            return
        deliveries = [job.delivery for job in jobs]
        held = Delivery.objects.using(self.database).held(deliveries)
        self.report.handed_back += held.hand_back()
        self._resubmit([delivery.pk for delivery in deliveries])

    def _resubmit(self, ids: Sequence[uuid.UUID] | deque[uuid.UUID]) -> None:
        """Publish again, in messages of about the size that was just managed."""
        if not ids:
            return
        ran = max(len(self.report.outcomes), 1)
        publisher.submit(
            Parcel(
                receiver=self.receiver.name,
                database=self.database,
                ids=[str(pk) for pk in ids],
                chunk=ran,
            )
        )
        signals.handed_back.send_robust(
            sender=Delivery, receiver=self.receiver.name, count=len(ids)
        )


def _next_size(ran: int, seconds: float) -> int:
    """As many as fit into GROUP_SECONDS at this speed, growing fourfold at most."""
    fitting = int(ran * settings().GROUP_SECONDS / max(seconds, 1e-6))
    return max(1, min(fitting, 4 * ran, settings().CHUNK_SIZE))
