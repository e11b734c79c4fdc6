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
]


class ReleaseRequested(BaseException):
    """The worker has to stop now: release the running delivery, uncounted."""


class HardLimitReached(ReleaseRequested):
    """The process is ended because this receiver has outlasted a hard limit."""


#: Exceptions that may end a receiver from outside, to stop its process.
STOPS = (ReleaseRequested, KeyboardInterrupt, WorkerShutdown, WorkerTerminate)


class _Interruptible:
    """Marks the stretches of the main thread that ``ReleaseRequested`` may end."""

    depth = 0

    def __enter__(self) -> None:
        type(self).depth += 1

    def __exit__(self, *_: object) -> None:
        type(self).depth -= 1


interruptible = _Interruptible()


def in_receiver() -> bool:
    """Return True while a receiver is running in this process."""
    return _Interruptible.depth > 0


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
