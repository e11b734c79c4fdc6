"""Writing to customers."""

from __future__ import annotations

from email.utils import parseaddr
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from notifications.models import Notification
from orders.models import Order


def notify(*, key: UUID, kind: Notification.Kind, subject: str, order: Order) -> bool:
    """Send one message about an order and record it; False when the record says so.

    # Note [Twice at worst]
    No mail server commits together with a database. If the process dies between the
    two, the message goes out again, under the same Message-ID: mail programs and
    people can see that it is the same one.
    """
    if Notification.objects.filter(key=key).exists():
        return False
    message = _message(key=key, kind=kind, subject=subject, order=order)
    message.send()
    Notification.objects.get_or_create(
        key=key,
        defaults={
            "kind": kind,
            "order": order,
            "recipient": order.customer_email,
            "subject": subject,
            "message_id": message.extra_headers["Message-ID"],
        },
    )
    return True


def message_id(key: UUID) -> str:
    """The Message-ID of a delivery's message: the same on each host, each time."""
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    return f"<{key}@{sender.rpartition('@')[2] or 'localhost'}>"


def _message(
    *, key: UUID, kind: Notification.Kind, subject: str, order: Order
) -> EmailMessage:
    context = {"order": order, "lines": order.lines.select_related("product")}
    body = render_to_string(f"notifications/{kind.value}.txt", context)
    return EmailMessage(
        subject=subject,
        body=body,
        to=[order.customer_email],
        headers={"Message-ID": message_id(key)},
    )
