"""Run deliveries outside of any transaction, and write their outcomes together."""

from __future__ import annotations

from signal_tasks.delivery.attempt import attempt
from signal_tasks.delivery.progress import Progress
from signal_tasks.delivery.series import Series

#: How long outcomes of non-atomic deliveries are buffered (seconds). A crash repeats
#: at most this much.
BUFFER_SECONDS = 0.02


def run_outside(progress: Progress) -> None:
    """Run the first few jobs outside of any transaction, then write their outcomes."""
    series = Series(progress)
    try:
        if not series.fill(attempt, BUFFER_SECONDS):
            progress.drop_connection()
    except BaseException:
        progress.put_back(series.ran[len(series.outcomes) :])
        raise
    finally:
        progress.write_all(series.ran[: len(series.outcomes)], series.outcomes)
