"""The tour of an incident: its page, and the buttons that break and mend things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from customers.visitors import visitor_for
from notifications.receivers import RETRIES
from shop.access import demo_only
from shop.incident import faults
from shop.incident.facts import read
from shop.incident.tour import tour_of

ORDERS = 100


@never_cache
@require_safe
@demo_only
def page(request: HttpRequest) -> HttpResponse:
    """Show the steps and the totals."""
    return render(request, "shop/incident.html", _context())


@never_cache
@require_safe
@demo_only
def now(request: HttpRequest) -> HttpResponse:
    """Show the part of the page that refreshes itself."""
    return render(request, "shop/_incident.html", _context())


def _context() -> Mapping[str, Any]:
    return {
        "tour": tour_of(read()),
        "orders": ORDERS,
        "attempts": RETRIES.max_attempts,
    }


@require_POST
@demo_only
def begin(request: HttpRequest) -> HttpResponse:
    """Begin the tour anew."""
    faults.begin()
    messages.success(request, "The tour begins anew, and the mail server answers.")
    return redirect("incident")


@require_POST
@demo_only
def confirm_orders(request: HttpRequest) -> HttpResponse:
    """Confirm many orders, one after the other."""
    faults.confirm_orders(ORDERS, visitor_for(request.session))
    messages.success(
        request, f"{ORDERS} orders are confirmed. Watch the workers catch up."
    )
    return redirect("incident")


@require_POST
@demo_only
def break_mail(request: HttpRequest) -> HttpResponse:
    """Take the mail server down."""
    faults.break_mail()
    messages.warning(request, "The mail server is down. Confirm some orders now.")
    return redirect("incident")


@require_POST
@demo_only
def repair_mail(request: HttpRequest) -> HttpResponse:
    """Bring the mail server back."""
    faults.repair_mail()
    messages.success(
        request,
        "The mail server is back. Waiting emails go out at their next attempt; "
        "dead ones wait for a replay.",
    )
    return redirect("incident")


@require_POST
@demo_only
def replay(request: HttpRequest) -> HttpResponse:
    """Replay the dead deliveries."""
    faults.replay_dead_deliveries(by=request.user.get_username() or "a visitor")
    messages.success(request, "The replay is ordered: relays make it happen.")
    return redirect("incident")


@require_POST
@demo_only
def kill_worker(request: HttpRequest) -> HttpResponse:
    """Kill a worker while it runs deliveries."""
    if faults.kill_a_worker():
        messages.warning(
            request,
            "A worker was killed with SIGKILL. It starts again in a second or two; "
            "its running deliveries run again when their leases have expired.",
        )
    else:
        messages.error(request, "Only “make run” has a worker that may be killed.")
    return redirect("incident")
