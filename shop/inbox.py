"""The inbox: every message that the shop has sent, for staff to read."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from notifications.models import Notification
from shop.access import staff_only

# What the HTML of a message may do: nothing but look as it does. A document of its
# own, so that the rules of the page around it are not relaxed for it.
HARMLESS = (
    "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
)


@never_cache
@require_safe
@staff_only
def inbox(request: HttpRequest) -> HttpResponse:
    """List the messages, newest first; those to one recipient on request."""
    sought = request.GET.get("to", "").strip()
    found = Notification.objects.select_related("order").defer("text", "html")
    if sought:
        found = found.filter(recipient__icontains=sought)
    page = Paginator(found.order_by("-pk"), 20).get_page(request.GET.get("page"))
    return render(request, "shop/inbox.html", {"page": page, "sought": sought})


@never_cache
@require_safe
@staff_only
def mail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one message as it was sent, and lead to the delivery that sent it."""
    found = get_object_or_404(Notification.objects.select_related("order"), pk=pk)
    delivery = reverse("admin:signal_tasks_delivery_change", args=[found.key])
    return render(request, "shop/mail.html", {"mail": found, "delivery": delivery})


@never_cache
@require_safe
@staff_only
@xframe_options_sameorigin
def mail_html(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer with the HTML part of a message, which can do nothing there."""
    found = get_object_or_404(Notification, pk=pk)
    return HttpResponse(found.html, headers={"Content-Security-Policy": HARMLESS})
