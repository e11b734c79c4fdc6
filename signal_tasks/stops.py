"""Stops a worker's process so that what it holds is handed back, not lost.

A child of the prefork pool puts its own handlers in front of the pool's; the solo pool
is replaced by one that can be stopped in the middle of a receiver.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import signals as celery_signals
from celery.concurrency import solo

from signal_tasks import calls
from signal_tasks.groups import process
from signal_tasks.publisher import publisher

#: What asks a child of the prefork pool to end; Celery ignores one of them when
#: ``REMAP_SIGTERM`` is set.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGQUIT)
#: Longest wait for the publication of what a child hands back (seconds).
FLUSH_SECONDS = 0.5

_stock_handlers: dict[int, Any] = {}


def worker_process_init(**_: object) -> None:
    """In a child of the prefork pool: be told of every message, before and after.

    The solo pool says the same of the main process, whose signals are Celery's.
    """
    if os.getpid() == process.main_pid:
        return
    uid = "signal_tasks.stop"
    celery_signals.task_prerun.connect(_listen, weak=False, dispatch_uid=uid)
    celery_signals.task_postrun.connect(_end_if_stopped, weak=False, dispatch_uid=uid)


def _listen(**_: object) -> None:
    """Before the first message: put our handlers in front of those of the pool.

    Not earlier, because the pool installs its own after the child is initialised.
    """
    if _stock_handlers:
        return
    for number in (*STOP_SIGNALS, signal.SIGUSR1):
        stock = signal.getsignal(number)
        if callable(stock):
            _stock_handlers[number] = stock
            ours = _overrun if number == signal.SIGUSR1 else _stop
            signal.signal(number, ours)


def _stop(number: int, frame: Any) -> None:
    """Interrupt the receiver, if one runs; what has begun is handed back or ended."""
    process.stopping = True
    if calls.in_receiver():
        raise calls.HandBack
    if not process.busy:
        _stock_handlers[number](number, frame)


def _overrun(number: int, frame: Any) -> None:
    """Celery's soft time limit: it is for the receiver, not for its bookkeeping.

    Where it strikes that, no other receiver is started: it would have no limit.
    """
    process.overdue = True
    if calls.in_receiver() or not process.busy:
        _stock_handlers[number](number, frame)


def _end_if_stopped(**_: object) -> None:
    """After the message that was being worked off: end as the pool would have."""
    if process.stopping:
        publisher.flush(FLUSH_SECONDS)
        number, stock = next(iter(_stock_handlers.items()))
        stock(number, None)


class StoppableSolo(solo.TaskPool):  # type: ignore[misc]
    """The solo pool, whose one task is stopped by handing back what it runs.

    Stock Celery raises ``NotImplementedError`` in the middle of the receiver.
    """

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Celery's cold shutdown, called by a signal handler."""
        if calls.in_receiver():
            raise calls.HandBack
