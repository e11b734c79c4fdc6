"""Write what has failed: the row, guarded by the lease, and a record of the failure."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import F

from signal_tasks.conf import settings
from signal_tasks.db.claim import Claimed
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.failures import Failure
from signal_tasks.delivery.outcome import Outcome
from signal_tasks.delivery.process import process
from signal_tasks.error_text import MAX_CHARS, printable, text_of
from signal_tasks.exceptions import LeaseLost, Retry, WorkerLost
from signal_tasks.fingerprints import fingerprint
from signal_tasks.models import Attempt, Delivery
from signal_tasks.states import Reason, State

#: Times that one attempt may lose its connection before it counts.
FREE_RUNS = 3


def write_failure(outcome: Outcome) -> tuple[Outcome, Failure | None]:
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


def has_free_run(claimed: Claimed) -> bool:
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
