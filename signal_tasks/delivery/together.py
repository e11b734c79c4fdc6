"""Run deliveries in one transaction, which also holds their outcomes.

See Note [Batches] in ``batch``.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import Error, transaction

from signal_tasks.conf import settings
from signal_tasks.db.errors import Fault
from signal_tasks.delivery.attempt import (
    TransactionLost,
    attempt_in_savepoint,
    attempt_in_transaction,
)
from signal_tasks.delivery.call import Job
from signal_tasks.delivery.process import process
from signal_tasks.delivery.progress import Progress
from signal_tasks.delivery.series import Run, Series
from signal_tasks.delivery.singly import drop_if_spoilt, fault_in, run_each_singly
from signal_tasks.exceptions import LeaseLost
from signal_tasks.hooks import Hook


def run_together(progress: Progress) -> None:
    """Run the first few jobs in one transaction; see Note [Batches]."""
    series = Series(progress)
    try:
        after = _share_transaction(progress, series)
    except (LeaseLost, TransactionLost, Error) as error:
        _lost(progress, series.ran, error)
    except BaseException:
        progress.put_back(series.ran)
        raise
    else:
        if after is None:
            _rolled_back(progress, series)
        else:
            progress.size.savepoints_for = max(progress.size.savepoints_for - 1, 0)
            progress.committed(series.outcomes, after)


def _share_transaction(progress: Progress, series: Series) -> Sequence[Hook] | None:
    """Return the hooks to be run after the commit.

    None if the transaction was rolled back for one of its deliveries.
    """
    run = _attempt_for(progress)
    with transaction.atomic(using=progress.database):
        if series.fill(run, settings().GROUP_SECONDS):
            series.outcomes[:], after = progress.write_inside(series.outcomes)
            return after
        transaction.set_rollback(True, using=progress.database)
        return None


def _attempt_for(progress: Progress) -> Run:
    """Choose whether the deliveries get savepoints; see Note [Batches].

    A time limit strikes once in a message, so no receiver may overrun it twice.
    """
    timed = progress.receiver.options.timeout is not None
    with_savepoints = progress.size.savepoints_for or timed
    return attempt_in_savepoint if with_savepoints else attempt_in_transaction


def _lost(progress: Progress, ran: Sequence[Job], error: BaseException) -> None:
    """Run the deliveries of a lost transaction again, each in one of its own."""
    drop_if_spoilt(progress, error)
    if not ran:
        raise error  # it had not begun
    if len(ran) > 1 and fault_in(error) is Fault.TRANSACTION:
        progress.size.run_singly()
    run_each_singly(progress, ran)


def _rolled_back(progress: Progress, series: Series) -> None:
    """Write the failure that rolled the transaction back; put the others back."""
    ran = series.ran
    last = series.outcomes[-1] if series.outcomes else None
    if process.must_stop or (last is not None and last.spoilt):
        progress.drop_connection()
    progress.size.use_savepoints()
    if last is not None and not last.succeeded and last.is_its_own:
        job = ran.pop()
        progress.put_back(ran)
        progress.write(job, last)
    else:
        progress.put_back(ran)
