"""Runs taken deliveries: alone, together, or outside of any transaction.

# Note [Groups]
Deliveries are taken in small groups, as many as ran in ``GROUP_SECONDS`` the last
time. Those of an atomic receiver share one transaction and commit together; those of
one that is not share the statement that writes their ends.

While all goes well, nothing stands between the deliveries of a group. When one fails,
the transaction is rolled back and its deliveries are run again, now each in a
savepoint of its own, as are those of the next ``CAREFUL_GROUPS``. So a failure costs
its neighbours a second run now and then, never an attempt, and no effect in the
database. When the transaction itself is lost (deadlock, serialization failure, broken
connection, a lease that was over), each is run again in a transaction of its own.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.db import DatabaseError, InterfaceError, connections, transaction

from signal_tasks import signals
from signal_tasks.attempts import (
    BROKEN_TRANSACTION,
    Outcome,
    TransactionSpoilt,
    attempt,
    attempt_in_savepoint,
    attempt_in_transaction,
    failed,
)
from signal_tasks.calls import HandBack, Job
from signal_tasks.conf import settings
from signal_tasks.exceptions import LeaseLost
from signal_tasks.holdings import Holdings
from signal_tasks.models import Delivery
from signal_tasks.registry import Receiver
from signal_tasks.settlement import settle, settle_apart
from signal_tasks.states import State

#: Deliveries in the first group of a receiver.
FIRST_GROUP = 10
#: Groups that run in savepoints after one in which a delivery failed.
CAREFUL_GROUPS = 50
#: Non-atomic deliveries whose ends wait to be written together, at most this long: what
#: a crash could repeat (seconds).
UNWRITTEN_SECONDS = 0.02
#: Waits between attempts to write the end of a non-atomic delivery (seconds).
SETTLE_AGAIN = (0.1, 0.5, 2.0)


@dataclass(slots=True)
class Process:
    """This process as a worker: its name, and whether it has to stop."""

    name: str = ""
    main_pid: int = 0
    stopping: bool = False
    overdue: bool = False  # the time limit of the message struck outside of a receiver
    busy: bool = False
    holdings: Holdings | None = None  # in a pool, and in the process that forks it

    @property
    def must_end(self) -> bool:
        """Whether no further receiver may be started for this message."""
        return self.stopping or self.overdue

    def label(self) -> str:
        """Who is recorded as having run an attempt."""
        return self.name or f"{socket.gethostname()}:{os.getpid()}"


process = Process()


@dataclass(slots=True)
class Pace:
    """What this process has learnt of a receiver."""

    size: int = FIRST_GROUP  # as many deliveries as fit into a group
    careful: int = 0  # as many groups are still to be run in savepoints


_paces: dict[str, Pace] = {}


def pace_of(receiver: Receiver) -> Pace:
    """What has been learnt of it so far."""
    return _paces.setdefault(receiver.name, Pace())


@dataclass(slots=True)
class Report:
    """What became of the deliveries that a message named."""

    outcomes: list[Outcome] = field(default_factory=list)
    fenced: int = 0
    handed_back: int = 0
    not_owed: int = 0

    @property
    def failures(self) -> list[BaseException]:
        """The errors of the failed attempts."""
        return [o.error for o in self.outcomes if o.error is not None]

    @property
    def given_up(self) -> bool:
        """Whether a delivery is dead now."""
        return any(outcome.state is State.DEAD for outcome in self.outcomes)

    def __str__(self) -> str:
        counts = {
            "succeeded": sum(outcome.succeeded for outcome in self.outcomes),
            "failed": len(self.failures),
            "fenced": self.fenced,
            "handed back": self.handed_back,
            "not owed": self.not_owed,
        }
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        return ", ".join(parts) or "nothing to do"


class Runner:
    """Runs the deliveries that one worker has taken for one receiver."""

    def __init__(self, receiver: Receiver, database: str, report: Report) -> None:
        self.receiver = receiver
        self.database = database
        self.report = report
        self.pace = pace_of(receiver)

    def run_next(self, jobs: deque[Job]) -> None:
        """Run the first of ``jobs``, or the first few; they leave it when run."""
        options = self.receiver.options
        if jobs[0].is_late:
            self._fenced(jobs.popleft())
        elif not options.atomic:
            self._run_outside(jobs)
        elif options.group_commit and len(jobs) > 1:
            self._run_together(jobs)
        else:
            self._run_alone(jobs)

    def _run_outside(self, jobs: deque[Job]) -> None:
        """Run deliveries outside of any transaction, then write their ends at once."""
        ran: list[Job] = []
        outcomes: list[Outcome] = []
        try:
            self._fill(jobs, ran, outcomes, attempt, UNWRITTEN_SECONDS)
        except HandBack:
            self.drop_connection()
            raise
        finally:
            self._settle_all(ran[: len(outcomes)], outcomes)

    def _settle_all(self, ran: list[Job], outcomes: list[Outcome]) -> None:
        """Write ends together; where that fails, each by itself."""
        if len(outcomes) > 1:
            try:
                settle_apart(outcomes, self.database, process.label())
            except (LeaseLost, DatabaseError, InterfaceError):
                pass  # each will say for itself what is wrong
            else:
                self._count(outcomes)
                return
        for job, outcome in zip(ran, outcomes, strict=True):
            self._settle(job, outcome)

    def _run_together(self, jobs: deque[Job]) -> None:
        """Run deliveries in one transaction; see Note [Groups]."""
        ran: list[Job] = []
        outcomes: list[Outcome] = []
        try:
            with transaction.atomic(using=self.database):
                self._fill(
                    jobs, ran, outcomes, self._in_group(), settings().GROUP_SECONDS
                )
                settle(outcomes, self.database, process.label())
        except TransactionSpoilt:
            self.pace.careful = CAREFUL_GROUPS
            jobs.extendleft(reversed(ran))
        except (LeaseLost, DatabaseError, InterfaceError):
            self._one_by_one(ran, jobs)
        except BaseException:
            jobs.extendleft(reversed(ran))
            raise
        else:
            self.pace.careful = max(self.pace.careful - 1, 0)
            self._count(outcomes)

    def _in_group(self) -> Callable[[Job], Outcome]:
        """How to run the deliveries of a group: see Note [Groups].

        A time limit strikes once in a message, so no receiver may overrun it twice.
        """
        timed = self.receiver.options.timeout is not None
        return (
            attempt_in_savepoint
            if self.pace.careful or timed
            else attempt_in_transaction
        )

    def _fill(
        self,
        jobs: deque[Job],
        ran: list[Job],
        outcomes: list[Outcome],
        run: Callable[[Job], Outcome],
        seconds: float,
    ) -> None:
        """Run jobs for about so many seconds; move them from ``jobs`` to ``ran``.

        A job that is interrupted by the end of the process goes back to ``jobs``.
        """
        until = time.monotonic() + seconds
        while jobs and not jobs[0].is_late and not process.must_end:
            ran.append(jobs.popleft())
            try:
                outcomes.append(run(ran[-1]))
            except HandBack:
                process.stopping = True
                jobs.appendleft(ran.pop())
                if run is not attempt_in_savepoint:
                    raise  # its writes cannot be undone by themselves
            if time.monotonic() >= until:
                break

    def _one_by_one(self, ran: list[Job], jobs: deque[Job]) -> None:
        """Run again, each in its own transaction, what a lost one had run."""
        again = deque(ran)
        try:
            while again and not process.must_end:
                self._run_alone(again)
        finally:
            jobs.extendleft(reversed(again))

    def _run_alone(self, jobs: deque[Job]) -> None:
        """Run one delivery in a transaction that also holds its end."""
        job = jobs[0]
        try:
            with transaction.atomic(using=self.database):
                outcome = attempt_in_transaction(job)
                settle([outcome], self.database, process.label())
        except TransactionSpoilt as spoilt:
            self._settle(jobs.popleft(), spoilt.outcome)
        except LeaseLost:
            self._fenced(jobs.popleft())
        except (DatabaseError, InterfaceError) as error:
            self._settle(jobs.popleft(), failed(job, error))
        else:
            jobs.popleft()
            self._count([outcome])

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """Write an end of its own; one that was reached is worth waiting for."""
        for wait in (*SETTLE_AGAIN, None):
            try:
                settle_apart([outcome], self.database, process.label())
            except LeaseLost:
                self._fenced(job)
                return
            except BROKEN_TRANSACTION:
                if wait is None or connections[self.database].in_atomic_block:
                    raise
                connections[self.database].close()
                time.sleep(wait)
            else:
                self._count([outcome])
                return

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        self.report.outcomes.extend(outcomes)
        for outcome in outcomes:
            signals.attempt_ended.send_robust(sender=Delivery, outcome=outcome)

    def _fenced(self, job: Job) -> None:
        self.report.fenced += 1
        signals.lease_lost.send_robust(
            sender=Delivery, delivery_id=job.delivery.pk, receiver=self.receiver.name
        )

    def drop_connection(self) -> None:
        """After an interruption: the receiver may have been in a statement."""
        connections[self.database].close()
