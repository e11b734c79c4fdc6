"""The pages of the fault demo: buttons that break things, and the totals."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from customers.visitors import visitor_for
from shop.access import demo_only
from shop.fault_demo import faults
from shop.fault_demo.totals import count
from shop.mail_folder import messages_in, text_of

ORDERS = 100
MAX_EMAILS = 20


@never_cache
@require_safe
@demo_only
def page(request: HttpRequest) -> HttpResponse:
    """Show the buttons and the totals."""
    context = {"totals": count(), "orders": ORDERS}
    return render(request, "shop/fault_demo.html", context)


@never_cache
@require_safe
@demo_only
def totals(request: HttpRequest) -> HttpResponse:
    """Show the part of the page that refreshes itself."""
    return render(request, "shop/_totals.html", {"totals": count()})


@never_cache
@require_safe
@demo_only
def emails(request: HttpRequest) -> HttpResponse:
    """Show the newest emails of a development stack, with their links."""
    folder = getattr(settings, "EMAIL_FILE_PATH", None)
    found = messages_in(Path(folder)) if folder else []
    newest = [
        {"subject": m["Subject"], "recipient": m["To"], "text": text_of(m)}
        for m in reversed(found[-MAX_EMAILS:])
    ]
    context = {"emails": newest, "folder": folder}
    return render(request, "shop/fault_demo_emails.html", context)


@require_POST
@demo_only
def confirm_orders(request: HttpRequest) -> HttpResponse:
    """Confirm many orders, one after the other."""
    faults.confirm_orders(ORDERS, visitor_for(request.session))
    messages.success(
        request, f"{ORDERS} orders are confirmed. Watch the workers catch up."
    )
    return redirect("fault-demo")


@require_POST
@demo_only
def break_mail(request: HttpRequest) -> HttpResponse:
    """Take the mail server down."""
    faults.break_mail()
    messages.warning(request, "The mail server is down. Confirm some orders now.")
    return redirect("fault-demo")


@require_POST
@demo_only
def repair_mail(request: HttpRequest) -> HttpResponse:
    """Bring the mail server back."""
    faults.repair_mail()
    messages.success(
        request, "The mail server is back. Waiting emails go out at their next attempt."
    )
    return redirect("fault-demo")


@require_POST
@demo_only
def replay(request: HttpRequest) -> HttpResponse:
    """Replay the dead deliveries."""
    faults.replay_dead_deliveries()
    messages.success(request, "The dead deliveries are pending again.")
    return redirect("fault-demo")


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
    return redirect("fault-demo")
