"""Stop a worker's process so that the deliveries it holds are released, not lost.

A child of the prefork pool puts its own handlers in front of the pool's; the solo pool
is replaced by one that can be stopped in the middle of a receiver.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
from typing import Any

from celery import signals as celery_signals
from celery.concurrency import solo

from signal_tasks.broker.publisher import publisher
from signal_tasks.delivery.process import process
from signal_tasks.interrupt import (
    HardLimitReached,
    ReleaseRequested,
    in_receiver,
)
from signal_tasks.telemetry.recording import recorder

#: Signals that stop a child of the prefork pool; Celery ignores one of them when
#: ``REMAP_SIGTERM`` is set.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGQUIT)
#: How long a child waits until what it released is published (seconds).
FLUSH_SECONDS = 0.5

_stock_handlers: dict[int, Any] = {}


class PidTable:
    """Ids of processes, in memory that a process shares with those that it forks."""

    _SLOTS, _SLOT = 1024, struct.Struct("=I")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._SLOTS * self._SLOT.size)

    def add(self, pid: int) -> None:
        """Add a process, in place of one whose id shares its slot."""
        self._SLOT.pack_into(self._memory, self._offset(pid), pid)

    def __contains__(self, pid: int) -> bool:
        return self._SLOT.unpack_from(self._memory, self._offset(pid)) == (pid,)

    def _offset(self, pid: int) -> int:
        return pid % self._SLOTS * self._SLOT.size


#: Pool processes that are ended because their message has reached its hard limit.
#: The signal that ends them is the one that stops a worker.
overdue_processes = PidTable()


def worker_process_shutdown(**_: object) -> None:
    """Publish what a child of the prefork pool has sent before the pool recycles it.

    Likewise write what it has counted. The pool ends such a child without ``atexit``.
    """
    publisher.close()
    recorder.close()


def worker_process_init(**_: object) -> None:
    """Listen, in a child of the prefork pool, for the begin and end of each message.

    The solo pool sends this signal in the main process, whose signal handlers are
    Celery's.
    """
    if os.getpid() == process.main_pid:
        return
    uid = "signal_tasks.shutdown"
    celery_signals.task_prerun.connect(_install_handlers, weak=False, dispatch_uid=uid)
    celery_signals.task_postrun.connect(_exit_if_stopping, weak=False, dispatch_uid=uid)


def _install_handlers(**_: object) -> None:
    """Put our signal handlers in front of the pool's, before the first message.

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
    """Interrupt the receiver, if one runs; its delivery is released or finished."""
    process.stopping = True
    if in_receiver():
        overdue = os.getpid() in overdue_processes
        raise HardLimitReached if overdue else ReleaseRequested
    if not process.busy:
        _stock_handlers[number](number, frame)


def _overrun(number: int, frame: Any) -> None:
    """Pass Celery's soft time limit on to the receiver, not to its bookkeeping.

    When it strikes the bookkeeping, no other receiver is started: it would have no
    limit.
    """
    process.end_message()
    if in_receiver() or not process.busy:
        _stock_handlers[number](number, frame)


def _exit_if_stopping(**_: object) -> None:
    """Exit as the pool would have, once the message is processed."""
    if process.stopping:
        publisher.flush(FLUSH_SECONDS)
        recorder.close(FLUSH_SECONDS)
        number, stock = next(iter(_stock_handlers.items()))
        stock(number, None)


class ReleasingSoloPool(solo.TaskPool):  # type: ignore[misc]
    """The solo pool, with a cold shutdown that releases the running delivery.

    Stock Celery raises ``NotImplementedError`` in the middle of the receiver.
    """

    #: The banner, and we, tell pools apart by this.
    __module__ = solo.TaskPool.__module__

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Interrupt the receiver; called by Celery's signal handler."""
        if in_receiver():
            process.stopping = True
            raise ReleaseRequested
