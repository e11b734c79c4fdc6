"""The machine at work: a page with buttons that break things, for the demo only."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from shop import mischief
from shop.access import demo_only
from shop.basket import visitor_for
from shop.tally import count

ORDERS = 100


@never_cache
@require_safe
@demo_only
def machine(request: HttpRequest) -> HttpResponse:
    """Show the buttons, and the books."""
    return render(request, "shop/machine.html", {"tally": count(), "orders": ORDERS})


@never_cache
@require_safe
@demo_only
def books(request: HttpRequest) -> HttpResponse:
    """Show the part of the machine page that changes by itself."""
    return render(request, "shop/_books.html", {"tally": count()})


@require_POST
@demo_only
def confirm_many(request: HttpRequest) -> HttpResponse:
    """Confirm many orders, one after the other."""
    mischief.confirm_orders(ORDERS, visitor_for(request.session))
    messages.success(
        request, f"{ORDERS} orders are confirmed. Watch the workers catch up."
    )
    return redirect("machine")


@require_POST
@demo_only
def break_mail(request: HttpRequest) -> HttpResponse:
    """Take the mail server down."""
    mischief.break_mail()
    messages.warning(request, "The mail server is down. Confirm some orders now.")
    return redirect("machine")


@require_POST
@demo_only
def mend_mail(request: HttpRequest) -> HttpResponse:
    """Let the mail server answer again."""
    mischief.mend_mail()
    messages.success(
        request, "The mail server is back. What waits goes out at its next attempt."
    )
    return redirect("machine")


@require_POST
@demo_only
def replay(request: HttpRequest) -> HttpResponse:
    """Owe the dead letters again."""
    mischief.replay_dead_letters()
    messages.success(request, "The dead letters are owed again.")
    return redirect("machine")


@require_POST
@demo_only
def kill_worker(request: HttpRequest) -> HttpResponse:
    """Kill a worker with what it has in its hands."""
    if mischief.kill_a_worker():
        messages.warning(
            request,
            "A worker was killed with SIGKILL. It starts again in a second or two, and "
            "what it had in its hands is done again when its lease has ended.",
        )
    else:
        messages.error(request, "Only “make run” has a worker that may be killed.")
    return redirect("machine")
