"""Metrics in the form of Prometheus; needs the extra ``metrics`` (prometheus_client).

Everything comes from the databases when it is asked for: counters and histograms from
the totals of the history, gauges from what is live. So any process may answer, whatever
the number of workers, and a restart of any of them changes nothing. See
docs/decisions/metrics.md.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from signal_tasks.conf import settings
from signal_tasks.telemetry.families import client, families, is_up

#: An answer is given again for this long (seconds), and for longer, up to MAX_AGE, if it
#: took long: the databases are asked for this share of the time.
MIN_AGE, MAX_AGE, SHARE = 2.0, 30.0, 0.05


class Collector:
    """Collects all metrics of ``signal_tasks``; register it in any registry.

    Several scrapers at a time get the same answer.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._families: list[Any] = []
        self._fresh_until = 0.0

    def collect(self) -> Iterable[Any]:
        """Return the families; ``prometheus_client`` calls this in each scrape."""
        with self._lock:
            started = self._clock()
            if started >= self._fresh_until:
                self._families = list(families())
                now = self._clock()
                self._fresh_until = now + self._age(now - started)
            return self._families

    def _age(self, took: float) -> float:
        """Return how long the answer holds; a database that is away is back soon."""
        if not is_up(self._families):
            return MIN_AGE
        return min(max(MIN_AGE, took / SHARE), MAX_AGE)

    def describe(self) -> Iterable[Any]:
        """Return nothing: to register asks no database."""
        return ()


def render(accept: str = "") -> tuple[bytes, str]:
    """Return all metrics as text, and its content type, as the scraper accepts it.

    Raises:
        ImproperlyConfigured: the extra ``metrics`` is not installed.
    """
    prometheus = client()
    global _registry
    if _registry is None:
        fresh = prometheus.CollectorRegistry()
        fresh.register(Collector())
        _registry = fresh
    encode, content_type = prometheus.exposition.choose_encoder(accept)
    return encode(_registry), content_type


_registry: Any = None


def has_token(authorization: str) -> bool:
    """Return True if a header ``Authorization`` presents METRICS_TOKEN."""
    token = settings().METRICS_TOKEN
    kind, _, given = authorization.partition(" ")
    if not token or kind.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode(), token.encode())
