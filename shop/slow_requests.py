"""Count slow requests by URL pattern, in the memory of this process.

Each process of a web server has its own counts, from its start. A request is known by
its thread, so requests of an asynchronous server are not counted.
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
    """Note that this thread starts a request."""
    _current.request = (path, time.monotonic())


def end() -> None:
    """Count the request of this thread if it took too long."""
    request: tuple[str, float] | None = getattr(_current, "request", None)
    if request is None:
        return
    del _current.request
    path, began = request
    if time.monotonic() - began > settings.SLOW_REQUEST_SECONDS:
        with _lock:
            _counts[_pattern(path)] += 1


def slow_requests() -> Mapping[str, int]:
    """Return the count of each pattern, most frequent first."""
    with _lock:
        return dict(_counts.most_common())


def _pattern(path: str) -> str:
    """Return the URL pattern: patterns are few, and contain no secrets as paths do."""
    try:
        return f"/{resolve(path).route}"
    except Resolver404:
        return UNKNOWN
