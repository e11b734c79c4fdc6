"""Writing to customers and others: every message of the shop goes out here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parseaddr
from smtplib import (
    SMTPDataError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPSenderRefused,
)
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string, select_template
from django.utils import timezone

from notifications.models import Notification
from orders.models import Order
from signal_tasks import Reject

MAX_PER_HOUR = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """What is to be written to whom.

    The kind names the template of the text, ``notifications/<kind>.txt``. The HTML
    part is made from that text unless ``notifications/<kind>.html`` says it better.
    """

    kind: Notification.Kind
    subject: str
    recipient: str
    context: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    order: Order | None = None


def notify(*, key: UUID, kind: Notification.Kind, subject: str, order: Order) -> bool:
    """Write to the customer about an order; False when the record says it was."""
    letter = Email(
        kind=kind,
        subject=subject,
        recipient=order.customer_email,
        context={"order": order, "lines": order.lines.select_related("product")},
        order=order,
    )
    return post(letter, key=key)


def post(letter: Email, *, key: UUID) -> bool:
    """Send one message and record it; False when the record says that it was sent.

    # Note [Twice at worst]
    No mail server commits together with a database. If the process dies between the
    two, the message goes out again, under the same Message-ID: mail programs and
    people can see that it is the same one.

    # Note [Refused for good]
    A mail server that answers 5xx to the sender, the recipient or the text will say
    so tomorrow too: the delivery is a dead letter at once, kept until somebody has
    mended the cause and replays it. Anything else (4xx, no answer, no connection, a
    login that fails) may pass, and is tried again.
    """
    if Notification.objects.filter(key=key).exists():
        return False
    message = _message(letter, key)
    _hand_over(message)
    Notification.objects.get_or_create(
        key=key,
        defaults={
            "kind": letter.kind,
            "order": letter.order,
            "recipient": letter.recipient,
            "subject": letter.subject,
            "message_id": message.extra_headers["Message-ID"],
            "headers": {"From": message.from_email, **message.extra_headers},
            "text": str(message.body),
            "html": str(message.alternatives[0][0]),
        },
    )
    return True


def is_flooded(recipient: str) -> bool:
    """Whether this address got many letters about the newsletter within an hour.

    Anybody can type anybody's address into the newsletter's form, again and again.
    """
    lately = Notification.objects.filter(
        kind__in=(Notification.Kind.SUBSCRIPTION, Notification.Kind.UNSUBSCRIPTION),
        recipient=recipient,
        created_at__gt=timezone.now() - timedelta(hours=1),
    )
    return lately.count() >= MAX_PER_HOUR


def message_id(key: UUID) -> str:
    """The Message-ID of a delivery's message: the same on each host, each time."""
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    return f"<{key}@{sender.rpartition('@')[2] or 'localhost'}>"


def _hand_over(message: EmailMultiAlternatives) -> None:
    try:
        message.send()
    except SMTPException as error:
        if _refused_for_good(error):
            raise Reject(f"the mail server refused it: {error}") from error
        raise


def _refused_for_good(error: SMTPException) -> bool:
    """Tell whether trying again is of no use. See Note [Refused for good]."""
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return (
        isinstance(error, SMTPSenderRefused | SMTPDataError) and error.smtp_code >= 500
    )


def _message(letter: Email, key: UUID) -> EmailMultiAlternatives:
    name, context = f"notifications/{letter.kind.value}", dict(letter.context)
    text = render_to_string(f"{name}.txt", context)
    message = EmailMultiAlternatives(
        subject=letter.subject,
        body=text,
        to=[letter.recipient],
        headers={**letter.headers, "Message-ID": message_id(key)},
    )
    html = select_template([f"{name}.html", "notifications/email.html"])
    content = html.render({"text": text, "subject": letter.subject, **context})
    message.attach_alternative(content, "text/html")
    return message
