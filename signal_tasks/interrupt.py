"""Interrupt a running receiver because its process has to stop."""

from __future__ import annotations

import threading
from signal import SIG_IGN, SIGINT, default_int_handler, getsignal

from celery.exceptions import (
    SoftTimeLimitExceeded,
    WorkerShutdown,
    WorkerTerminate,
)

__all__ = [
    "STOPS",
    "ReleaseRequested",
    "SoftTimeLimitExceeded",
    "in_receiver",
    "interruptible",
    "is_from_outside",
    "is_stop",
]


class ReleaseRequested(BaseException):
    """The worker has to stop now: release the running delivery, uncounted."""


class HardLimitReached(ReleaseRequested):
    """The process is ended because this receiver has outlasted a hard limit."""


#: Exceptions that may end a receiver from outside, to stop its process.
STOPS = (ReleaseRequested, KeyboardInterrupt, WorkerShutdown, WorkerTerminate)


#: How many receivers run in each thread, or greenlet: one in another where tasks are
#: eager.
_running: dict[int, int] = {}


class _Interruptible:
    """Marks the stretches of a thread that ``ReleaseRequested`` may end."""

    def __enter__(self) -> None:
        thread = threading.get_ident()
        _running[thread] = _running.get(thread, 0) + 1

    def __exit__(self, *_: object) -> None:
        thread = threading.get_ident()
        _running[thread] -= 1
        if not _running[thread]:
            del _running[thread]


interruptible = _Interruptible()


def running() -> int:
    """Return how many receivers run in this thread."""
    return _running.get(threading.get_ident(), 0)


def correct_running(number: int) -> None:
    """Set how many receivers run in this thread, where that has gone wrong.

    A time limit may strike in the moment in which the end of a receiver is counted.
    """
    if number:
        _running[threading.get_ident()] = number
    else:
        _running.pop(threading.get_ident(), None)


def in_receiver(thread: int | None = None) -> bool:
    """Return True while a receiver is running in a thread: by default, in this one.

    Signal handlers run in the main thread, as the receivers of pool processes do.
    """
    return (threading.get_ident() if thread is None else thread) in _running


def is_from_outside(error: BaseException) -> bool:
    """Return True if a signal may have raised this, and not the receiver itself.

    A receiver that raises one of ``STOPS`` itself would otherwise be released,
    uncounted, for ever. Only a main thread gets signals, and a pool process ignores
    Ctrl-C.
    """
    if isinstance(error, ReleaseRequested):
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = getsignal(SIGINT)
    if isinstance(error, KeyboardInterrupt):
        return handler is default_int_handler
    return handler is not SIG_IGN


def is_stop(error: BaseException) -> bool:
    """Return True if an error has come from outside, to stop this process.

    Whoever calls a project's code takes anything else that it raises for its failure.
    """
    return isinstance(error, STOPS) and is_from_outside(error)
