"""Check emails: the mail server has received one for each row that requires it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from django.contrib.auth.models import User
from django.db.models import QuerySet

from chaos.scenarios.invariants.comparison import Comparison, compare
from chaos.scenarios.observations import Observations, matches
from customers.models import Subscriber
from orders.models import Order
from products.models import Review
from signal_tasks.models import Event

Status = Order.Status
NOTIFICATION = "notifications.signals.notification"
PROOF_REQUESTED = "customers.signals.proof_requested"
Emails = list[tuple[str, str]]  # recipient and subject


def check_emails(observed: Observations) -> Iterator[Comparison]:
    """Compare each kind of email; yield one comparison more for all other emails."""
    others = observed.emails
    for item, subject, expected, allowed in _expected_emails():
        found = Counter({k: n for k, n in others.items() if matches(subject, k[1])})
        others -= found
        yield compare(item, "has its email", expected, found.elements(), allowed)
    yield compare("anything else", "has no email", (), others.elements())


def _expected_emails() -> Iterator[tuple[str, str, Emails, Emails]]:
    """Yield item, subject, the emails that must exist, and those that may."""
    confirmed = Order.objects.exclude(confirmed_at=None)
    waiting = Order.objects.filter(status=Status.BACK_ORDERED)
    orders = (
        (
            "confirmed order",
            "Your order {} is confirmed",
            confirmed.exclude(status=Status.CANCELLED),
            confirmed,
        ),
        (
            "back-order",
            "Part of your order {} is on back-order",
            waiting,
            Order.objects.exclude(back_order_event_id=None),
        ),
        (
            "back-order served",
            "The rest of your order {} is here",
            Order.objects.exclude(served_event_id=None),
            Order.objects.none(),
        ),
        (
            "cancelled order",
            "Your order {} is cancelled",
            confirmed.filter(status=Status.CANCELLED),
            Order.objects.none(),
        ),
    )
    for item, subject, expected, allowed in orders:
        yield item, subject, _of(expected, subject), _of(allowed, subject)
    for item, subject, emails in _emails_about_people():
        # Reviews of one product that come together are told in one email.
        required = set(emails) if item == "review" else emails
        yield item, subject, [*required], emails


def _of(orders: QuerySet[Order], subject: str) -> Emails:
    rows = orders.values_list("customer_email", "pk")
    return [(email, subject.format(pk)) for email, pk in rows]


def _emails_about_people() -> Iterator[tuple[str, str, Emails]]:
    registered = User.objects.filter(username__startswith="customer")
    reviews = Review.objects.values_list("product__vendor__email", "product__name")
    recipients = (
        ("account", "Welcome to Signal & Sons", _addresses(registered)),
        (
            "subscription",
            "You get our newsletter",
            _addresses(Subscriber.objects.all()),
        ),
        (
            "end of a subscription",
            "You get our newsletter no more",
            _addresses(Subscriber.objects.filter(active=False)),
        ),
        (
            "notification",
            "Your notification",
            list(sent_with("email", NOTIFICATION)),
        ),
        (
            "address to be proved",
            "Is this your email address?",
            list(sent_with("email", PROOF_REQUESTED)),
        ),
    )
    for item, subject, addresses in recipients:
        yield item, subject, [(address, subject) for address in addresses]
    to_vendors = [(str(vendor), f"A review of {name}") for vendor, name in reviews]
    yield "review", "A review of {}", to_vendors


def sent_with(argument: str, signal: str) -> Iterator[str]:
    """Yield the value of an argument in each event of a signal."""
    events = Event.objects.filter(signal=signal)
    for payload in events.values_list("payload", flat=True):
        yield json.loads(payload)["kwargs"][argument]


def _addresses(rows: QuerySet[User] | QuerySet[Subscriber]) -> list[str]:
    return list(rows.values_list("email", flat=True))
