"""The letters that rows call for, beside those that the mail server has received."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from django.contrib.auth.models import User
from django.db.models import QuerySet

from chaos.scenarios.invariants.comparison import Entry, Observations, compare, fits
from customers.models import Subscriber
from orders.models import Order
from products.models import Review
from signal_tasks.models import Event

Status = Order.Status
NOTIFIED = "notifications.signals.notification"
Letters = list[tuple[str, str]]


def letters(observations: Observations) -> Iterator[Entry]:
    """One entry for each kind of letter, and one for what is of no kind."""
    left = observations.letters
    for story, subject, must, may in _called_for():
        there = Counter({k: n for k, n in left.items() if fits(subject, k[1])})
        left -= there
        yield compare(story, "has its letter", must, there.elements(), may=may)
    yield compare("anything else", "has no letter", (), left.elements())


def _called_for() -> Iterator[tuple[str, str, Letters, Letters]]:
    """Story, subject, the letters that must have come, and those that may have."""
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
            Order.objects.filter(status=Status.CANCELLED),
            Order.objects.none(),
        ),
    )
    for story, subject, owed, allowed in orders:
        yield story, subject, _of(owed, subject), _of(allowed, subject)
    for story, subject, must in _to_people():
        yield story, subject, must, []


def _of(orders: QuerySet[Order], subject: str) -> Letters:
    found = orders.values_list("customer_email", "pk")
    return [(email, subject.format(pk)) for email, pk in found]


def _to_people() -> Iterator[tuple[str, str, Letters]]:
    registered = User.objects.filter(username__startswith="visitor")
    notified = Event.objects.filter(signal=NOTIFIED).values_list("payload", flat=True)
    reviews = Review.objects.values_list("product__vendor__email", "product__name")
    lists = (
        ("account", "Welcome to Signal & Sons", _emails(registered)),
        ("subscription", "You get our newsletter", _emails(Subscriber.objects.all())),
        (
            "end of a subscription",
            "You get our newsletter no more",
            _emails(Subscriber.objects.filter(active=False)),
        ),
        (
            "notification",
            "Your notification",
            [json.loads(payload)["kwargs"]["email"] for payload in notified],
        ),
    )
    for story, subject, emails in lists:
        yield story, subject, [(email, subject) for email in emails]
    told = [(str(vendor), f"A review of {name}") for vendor, name in reviews]
    yield "review", "A review of {}", told


def _emails(rows: QuerySet[User] | QuerySet[Subscriber]) -> list[str]:
    return list(rows.values_list("email", flat=True))
