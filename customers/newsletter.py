"""The newsletter: who gets it, and the link by which one leaves it.

The signature of the link is its only authority. It does not expire: an email may be
read years after it was sent, and its link has to work then.
"""

from __future__ import annotations

from django.core.signing import BadSignature, Signer
from django.db import transaction

from customers.models import Subscriber
from customers.proofs import plain
from customers.signals import user_subscribed, user_unsubscribed

_signer = Signer(salt="customers.newsletter.unsubscribe")


@transaction.atomic
def subscribe(*, email: str) -> bool:
    """Subscribe a proved address and send the signal; return False if it was done."""
    subscriber, created = Subscriber.objects.get_or_create(email=plain(email))
    if not created and not subscriber.activate():
        return False
    user_subscribed.send(sender=Subscriber, user_email=subscriber.email)
    return True


@transaction.atomic
def unsubscribe(*, email: str) -> bool:
    """Unsubscribe an address and send the signal; return False if it was done."""
    subscriber = Subscriber.objects.filter(email=plain(email)).first()
    if subscriber is None or not subscriber.deactivate():
        return False
    user_unsubscribed.send(sender=Subscriber, user_email=subscriber.email)
    return True


def subscriber_at(email: str) -> Subscriber | None:
    """Return the active subscriber with this address."""
    return Subscriber.objects.filter(email=plain(email), active=True).first()


def unsubscribe_token(subscriber: Subscriber) -> str:
    """Return the signed text in the leave link of a subscriber."""
    return _signer.sign(str(subscriber.pk))


def subscriber_of(token: str) -> Subscriber | None:
    """Return the subscriber of a leave link, or None if we did not sign it."""
    try:
        return Subscriber.objects.filter(pk=_signer.unsign(token)).first()
    except BadSignature:
        return None
