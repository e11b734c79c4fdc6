"""One attempt at several deliveries of a batch receiver, in one call.

Does for them what ``attempt`` does for one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from django.db import connections, transaction

from signal_tasks.db.errors import Fault
from signal_tasks.db.leftovers import Watch
from signal_tasks.delivery.attempt import (
    OVERRUN,
    TransactionLost,
    has_overrun,
    outcome_of,
)
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.lists import Called, Part, call_list
from signal_tasks.delivery.outcome import Outcome
from signal_tasks.delivery.process import process
from signal_tasks.interrupt import (
    STOPS,
    ReleaseRequested,
    correct_running,
    is_from_outside,
    running,
)
from signal_tasks.states import State


class CallFailed(Exception):
    """A call has failed as a whole, and says nothing of any of its deliveries.

    See Note [Fallback] in ``listed``. Its cause is what the receiver raised. The
    connection is ``spoilt``, the time limit was ``overrun``, or neither.
    """

    def __init__(
        self, seconds: float, *, spoilt: bool = False, overrun: bool = False
    ) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.spoilt = spoilt
        self.overrun = overrun


class Answered(NamedTuple):
    """The outcomes of a call, one for each job; whether one it was asked about failed."""

    outcomes: list[Outcome]
    has_failures: bool


def attempt_jointly(parts: Sequence[Part]) -> Answered | None:
    """Call the receiver once for all parts; return what follows for each.

    None means that the process has to stop and interrupted the receiver. Raises
    ``CallFailed``, and otherwise what ``attempt`` does.
    """
    started = time.monotonic()
    job = parts[0].job
    watch = Watch(connections[job.claimed.database])
    called = _call(parts)
    left = watch.close()
    seconds = time.monotonic() - started
    if isinstance(called, STOPS):
        _stopped(job, called, seconds)
        return None
    if left:
        cause = called if isinstance(called, BaseException) else None
        raise CallFailed(seconds, spoilt=True) from (
            cause or transaction.TransactionManagementError(left)
        )
    if isinstance(called, BaseException):
        raise _failure(job, called, watch.fault_behind(called), seconds) from called
    return _answered(parts, called, seconds / len(parts))


def _call(parts: Sequence[Part]) -> Called | BaseException:
    """Call the receiver; return what it answers, or raises: its failure, as ever."""
    around = running()
    try:
        return call_list(parts)
    except BaseException as error:  # noqa: BLE001
        correct_running(around)
        return error


def _stopped(job: Job, error: BaseException, seconds: float) -> None:
    """Do as ``attempt`` does when something has ended the receiver."""
    if isinstance(error, ReleaseRequested):
        if has_overrun(job, error, seconds):
            raise CallFailed(seconds, spoilt=True, overrun=True) from TimeoutError(
                OVERRUN
            )
        process.end_message()
        return
    if is_from_outside(error):
        raise error
    raise CallFailed(seconds) from error


def _failure(
    job: Job, error: BaseException, fault: Fault | None, seconds: float
) -> Exception:
    if fault is not None and job.receiver.options.atomic:
        return TransactionLost(fault)
    lost = fault is Fault.CONNECTION
    overrun = has_overrun(job, error, seconds)
    return CallFailed(seconds, spoilt=lost, overrun=overrun)


def _answered(parts: Sequence[Part], called: Called, seconds: float) -> Answered:
    """Return the outcomes; each has taken its share of the time."""
    errors = {**called.answers, **called.unread}
    outcomes = []
    for job, *_ in parts:
        error = errors[job.claimed.id]
        outcomes.append(
            Outcome(claimed=job.claimed, state=State.SUCCEEDED, seconds=seconds)
            if error is None
            else outcome_of(job, error, seconds)
        )
    has_failures = any(error is not None for error in called.answers.values())
    return Answered(outcomes, has_failures)
