"""Send emails and record them: every email of the shop goes out here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parseaddr
from smtplib import (
    SMTPDataError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string, select_template
from django.utils import timezone
from django.utils.html import escape

from notifications.models import Notification
from orders.models import Order
from signal_tasks import Reject

MAX_PER_HOUR = 6
# Answers to the sender, the recipient or the text; others are about the connection.
FINAL = (SMTPRecipientsRefused, SMTPSenderRefused, SMTPDataError)
HIDDEN = "(a link for the recipient alone)"


class NotSent(Exception):
    """The mail server did not take the email, but may take it later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """An email to be sent.

    The text comes from the template ``notifications/<kind>.txt``. The HTML part comes
    from ``notifications/<kind>.html`` if there is one, else from the text.
    ``secret`` is a part of it that the record must not keep: whoever has it could act
    in the place of the recipient.
    """

    kind: Notification.Kind
    subject: str
    recipient: str
    context: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    order: Order | None = None
    secret: str = ""


def notify(*, key: UUID, kind: Notification.Kind, subject: str, order: Order) -> bool:
    """Send an email about an order; return False if it was sent before."""
    email = Email(
        kind=kind,
        subject=subject,
        recipient=order.customer_email,
        context={"order": order, "lines": order.lines.select_related("product")},
        order=order,
    )
    return post(email, key=key)


def post(email: Email, *, key: UUID) -> bool:
    """Send an email and record it; return False if it was sent before.

    # Note [Sent twice]
    No mail server commits together with a database. If the process dies between the
    two, the email is sent again, under the same Message-ID: mail programs and people
    can see that it is the same one.

    # Note [Refused for good]
    A mail server that answers 5xx to the sender, the recipient or the text will do so
    again: the delivery is dead at once, and kept until somebody has removed the cause
    and replays it. Everything else (4xx, no answer, no connection, a failed login) may
    pass, and is tried again.
    """
    if Notification.objects.filter(key=key).exists():
        return False
    message = _message(email, key)
    _hand_over(message)
    Notification.objects.get_or_create(
        key=key,
        defaults={
            "kind": email.kind,
            "order": email.order,
            "recipient": email.recipient,
            "subject": email.subject,
            "message_id": message.extra_headers["Message-ID"],
            "headers": {"From": message.from_email, **message.extra_headers},
            "text": _without(email.secret, str(message.body)),
            "html": _without(email.secret, str(message.alternatives[0][0])),
        },
    )
    return True


def is_flooded(recipient: str) -> bool:
    """Return True if this address got many emails about the newsletter within an hour.

    Its owner could subscribe and leave again and again with the links.
    """
    lately = Notification.objects.filter(
        kind__in=(Notification.Kind.SUBSCRIPTION, Notification.Kind.UNSUBSCRIPTION),
        recipient=recipient,
        created_at__gt=timezone.now() - timedelta(hours=1),
    )
    return lately.count() >= MAX_PER_HOUR


def message_id(key: UUID) -> str:
    """Return the Message-ID of a delivery's email: the same in every attempt."""
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    return f"<{key}@{sender.rpartition('@')[2] or 'localhost'}>"


def _hand_over(message: EmailMultiAlternatives) -> None:
    """Send the message. See Note [Refused for good].

    Errors name the codes of the mail server alone: its texts repeat the recipient's
    address, and errors are logged.
    """
    try:
        message.send()
    except SMTPException as error:
        codes = _codes(error)
        answer = ", ".join(map(str, sorted(codes))) or type(error).__name__
        if isinstance(error, FINAL) and min(codes) >= 500:
            raise Reject(f"The mail server refused it: {answer}.") from None
        raise NotSent(f"The mail server did not take it: {answer}.") from None


def _codes(error: SMTPException) -> set[int]:
    if isinstance(error, SMTPRecipientsRefused):
        return {code for code, _ in error.recipients.values()}
    return {error.smtp_code} if isinstance(error, SMTPResponseException) else set()


def _without(secret: str, text: str) -> str:
    if not secret:
        return text
    return text.replace(secret, HIDDEN).replace(escape(secret), HIDDEN)


def _message(email: Email, key: UUID) -> EmailMultiAlternatives:
    name, context = f"notifications/{email.kind.value}", dict(email.context)
    text = render_to_string(f"{name}.txt", context)
    message = EmailMultiAlternatives(
        subject=email.subject,
        body=text,
        to=[email.recipient],
        headers={**email.headers, "Message-ID": message_id(key)},
    )
    html = select_template([f"{name}.html", "notifications/email.html"])
    content = html.render({"text": text, "subject": email.subject, **context})
    message.attach_alternative(content, "text/html")
    return message
