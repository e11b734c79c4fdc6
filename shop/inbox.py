"""The inbox: every email that the shop has sent, for those who may view them.

In a demo everybody may, and reads the links too, which the record leaves out: an email
is then shown as its file in the mail folder has it.
"""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from notifications.models import Notification
from shop.access import is_demo, permission_or_demo
from shop.mail_folder import html_of, message_with, text_of

MAY_VIEW = permission_or_demo("notifications.view_notification")
# The HTML of an email may have styles, and links that open in a tab of their own, where
# the page behind them works as it does elsewhere. It is a document of its own, so that
# the policy of the page around it stays strict.
SANDBOX_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)


@never_cache
@require_safe
@MAY_VIEW
def inbox(request: HttpRequest) -> HttpResponse:
    """List the emails, newest first; filter by recipient."""
    sought = request.GET.get("to", "").strip()
    found = Notification.objects.select_related("order").defer("text", "html")
    if sought:
        found = found.filter(recipient__icontains=sought)
    page = Paginator(found.order_by("-pk"), 20).get_page(request.GET.get("page"))
    return render(request, "shop/inbox.html", {"page": page, "sought": sought})


@never_cache
@require_safe
@MAY_VIEW
def mail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one email as it was sent, with a link to its delivery."""
    found = get_object_or_404(Notification.objects.select_related("order"), pk=pk)
    _add_links(found)
    delivery = reverse("signal_tasks:delivery", args=[found.key])
    return render(request, "shop/mail.html", {"mail": found, "delivery": delivery})


@never_cache
@require_safe
@MAY_VIEW
@xframe_options_sameorigin
def mail_html(request: HttpRequest, pk: int) -> HttpResponse:
    """Return the HTML part of an email, sandboxed."""
    found = get_object_or_404(Notification, pk=pk)
    _add_links(found)
    return HttpResponse(found.html, headers={"Content-Security-Policy": SANDBOX_POLICY})


def _add_links(mail: Notification) -> None:
    """Replace the recorded texts by those of the mail folder, if there is one."""
    folder = getattr(settings, "EMAIL_FILE_PATH", None)
    if not (is_demo() and folder):
        return
    if message := message_with(mail.message_id, Path(folder)):
        mail.text, mail.html = text_of(message), html_of(message)
