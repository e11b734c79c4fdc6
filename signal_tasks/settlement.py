"""Writes what came of attempts, guarded by the lease under which they were made."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import nullcontext

from django.db import transaction

from signal_tasks.attempts import Outcome
from signal_tasks.conf import settings
from signal_tasks.ends import succeed
from signal_tasks.exceptions import LeaseLost
from signal_tasks.models import Attempt, Delivery
from signal_tasks.states import State


def settle(outcomes: Sequence[Outcome], database: str, worker: str) -> None:
    """Write the outcomes in the transaction that is open.

    Raises ``LeaseLost`` when this worker no longer holds one of the deliveries: then
    nothing of the transaction may stand.
    """
    done = [
        (outcome.delivery.pk, outcome.delivery.lease)
        for outcome in outcomes
        if outcome.succeeded
    ]
    if succeed(done, database=database) != len(done):
        raise LeaseLost("a lease was over before its receiver had ended")
    for outcome in outcomes:
        if not outcome.succeeded:
            _settle_failure(outcome, database, worker)


def settle_apart(outcomes: Sequence[Outcome], database: str, worker: str) -> None:
    """Write the outcomes, all or none, in a transaction of their own.

    Raises ``LeaseLost`` as ``settle`` does. A single success is a single statement,
    and needs no more of a transaction than that.
    """
    alone = len(outcomes) == 1 and outcomes[0].succeeded
    with nullcontext() if alone else transaction.atomic(using=database):
        settle(outcomes, database, worker)


def _settle_failure(outcome: Outcome, database: str, worker: str) -> None:
    rows = Delivery.objects.using(database).held([outcome.delivery])
    if outcome.state is State.PENDING and outcome.verdict is not None:
        verdict = outcome.verdict
        changed = rows.postpone(verdict.delay, counts=verdict.counts)
    else:
        changed = rows.end(outcome.state, outcome.reason)
    if changed != 1:
        raise LeaseLost(f"{outcome.delivery} is no longer held by this worker")
    if outcome.error is not None:
        _record(outcome, outcome.error, database, worker)


def _record(outcome: Outcome, error: BaseException, database: str, worker: str) -> None:
    dead = outcome.state is State.DEAD
    Attempt._base_manager.using(database).create(
        delivery_id=outcome.delivery.pk,
        number=outcome.delivery.attempts,
        outcome=Attempt.Outcome.DEAD if dead else Attempt.Outcome.RETRIED,
        error_type=_printable(type(error).__qualname__)[:255],
        error=_printable(_message(error))[:2000],
        traceback=_printable(_traceback(error)),
        worker=worker[:255],
        seconds=outcome.seconds,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    # An exception whose own __str__ fails must still be recorded.
    except Exception:  # noqa: BLE001
        return "(the error cannot be shown)"


def _traceback(error: BaseException) -> str:
    """The end of the traceback, where the cause is, bounded in length."""
    try:
        text = "".join(traceback.format_exception(error))
    # As in _message: formatting calls the exception's own methods.
    except Exception:  # noqa: BLE001
        return ""
    return text[-settings().MAX_TRACEBACK_CHARS :]


def _printable(text: str) -> str:
    """Text that every database stores: no NUL and no lone surrogates."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
