"""Requests that took long, counted by the pattern of their address.

Counted in the memory of this process, from its start: enough to see where to look.
Each process of a web server has its own counts. A request is followed by its thread,
so those of an asynchronous server, which have none of their own, are not counted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping

from django.conf import settings
from django.urls import Resolver404, resolve

UNKNOWN = "(no such page)"

_current = threading.local()
_counts: Counter[str] = Counter()
_lock = threading.Lock()


def begin(path: str) -> None:
    """Note that this thread begins to work on a request."""
    _current.request = (path, time.monotonic())


def end() -> None:
    """Count the request that was begun here, if it took too long."""
    request: tuple[str, float] | None = getattr(_current, "request", None)
    if request is None:
        return
    del _current.request
    path, began = request
    if time.monotonic() - began > settings.SLOW_REQUEST_SECONDS:
        with _lock:
            _counts[_pattern(path)] += 1


def slow_requests() -> Mapping[str, int]:
    """How many there were, the most frequent pattern first."""
    with _lock:
        return dict(_counts.most_common())


def _pattern(path: str) -> str:
    """The pattern and not the path: there are few of them, and none tells a secret."""
    try:
        return f"/{resolve(path).route}"
    except Resolver404:
        return UNKNOWN
