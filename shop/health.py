"""``/health/``: up or down for everybody, the full report for those who may see it.

A monitor gets JSON, a browser a page; the status is the same.

The full report counts all deliveries, so strangers must not be able to ask for it. Their
answer costs one count per process and interval, however often they ask.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from shop.access import has_permission
from shop.slow_requests import slow_requests
from signal_tasks import health as signal_health

INTERVAL = 10.0  # seconds
JSON, HTML = "application/json", "text/html"


@never_cache
@require_safe
@vary_on_headers("Accept")
def health(request: HttpRequest) -> HttpResponse:
    """Return 200 if deliveries are being worked on, else 503."""
    report: Mapping[str, Any] = {"healthy": last_seen.healthy()}
    if _may_see_report(request):
        report = {**signal_health(), "slow_requests": slow_requests()}
    status = 200 if report["healthy"] else 503
    if request.get_preferred_type([JSON, HTML]) == HTML:
        return render(request, "shop/health.html", _words(report), status=status)
    return JsonResponse(report, status=status)


def _words(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the page tells of a report; receivers without deliveries are idle."""
    receivers = {
        name: [(state, number) for state, number in counts.items() if number]
        for name, counts in sorted(report.get("receivers", {}).items())
    }
    busy = [(name, counts) for name, counts in receivers.items() if counts]
    return {"report": report, "receivers": busy}


def _may_see_report(request: HttpRequest) -> bool:
    """Return True for the token of the settings, and for who may view deliveries."""
    given = request.headers.get("Authorization", "").encode()
    wanted = f"Bearer {settings.HEALTH_TOKEN}".encode()
    if settings.HEALTH_TOKEN and secrets.compare_digest(given, wanted):
        return True
    return has_permission(request, "signal_tasks.view_delivery")


class LastSeen:
    """The health of a moment ago. One request at a time renews it, none waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._healthy: bool | None = None
        self._until = 0.0

    def healthy(self) -> bool:
        """Return the health, at most ``INTERVAL`` and one renewal old."""
        if time.monotonic() >= self._until:
            self._renew()
        return bool(self._healthy)

    def forget(self) -> None:
        """Ask again at the next request."""
        self._healthy, self._until = None, 0.0

    def _renew(self) -> None:
        first = self._healthy is None
        if not self._lock.acquire(blocking=first):
            return
        try:
            if time.monotonic() >= self._until:
                self._healthy = bool(signal_health()["healthy"])
                self._until = time.monotonic() + INTERVAL
        finally:
            self._lock.release()


last_seen = LastSeen()
