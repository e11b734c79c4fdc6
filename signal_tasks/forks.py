"""Work of a thread that no fork of the process may cut in two.

A child has only the thread that forked. A lock that another thread held stays locked
in the child for ever, and a module that the other thread was importing stays half made.
"""

from __future__ import annotations

import os
import threading


class ForkGuard:
    """A lock around such work; a fork waits for it, up to a limit in seconds.

    A child has a lock of its own, also after a fork that Python was not told of, as
    uWSGI's, which waits for nothing.

    Only for objects that live as long as the process: its hooks cannot be removed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._make_locks()
        os.register_at_fork(
            before=self._before,
            after_in_parent=self._after_in_parent,
            after_in_child=self._make_locks,
        )

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def _lock(self) -> threading.RLock:
        """The lock of this process; in one step, since two threads may ask first."""
        return self._locks.setdefault(os.getpid(), threading.RLock())

    def _make_locks(self) -> None:
        # By process. Reentrant, since the guarded work may fork, too.
        self._locks: dict[int, threading.RLock] = {}
        self._fork = threading.local()

    def _before(self) -> None:
        self._fork.has_lock = self._lock.acquire(timeout=self._seconds)

    def _after_in_parent(self) -> None:
        if self._fork.has_lock:
            self._lock.release()
