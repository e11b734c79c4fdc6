"""The newsletter: who gets it, and the link by which one leaves it.

The link carries a signature as its only authority. It does not expire: a message may
be read years after it was sent, and its link has to work then.
"""

from __future__ import annotations

from django.core.signing import BadSignature, Signer
from django.db import transaction

from customers.models import Subscriber
from customers.signals import user_subscribed, user_unsubscribed

_signer = Signer(salt="customers.newsletter.unsubscribe")


@transaction.atomic
def subscribe(*, email: str) -> bool:
    """Send the newsletter to this address; False, and no event, if that was so."""
    subscriber, created = Subscriber.objects.get_or_create(email=_plain(email))
    if not created and not subscriber.activate():
        return False
    user_subscribed.send(sender=Subscriber, user_email=subscriber.email)
    return True


@transaction.atomic
def unsubscribe(*, email: str) -> bool:
    """Send it no more; False, and no event, if it was not sent there."""
    subscriber = Subscriber.objects.filter(email=_plain(email)).first()
    if subscriber is None or not subscriber.deactivate():
        return False
    user_unsubscribed.send(sender=Subscriber, user_email=subscriber.email)
    return True


def subscriber_at(email: str) -> Subscriber | None:
    """Whoever gets the newsletter at this address now."""
    return Subscriber.objects.filter(email=_plain(email), active=True).first()


def unsubscribe_token(subscriber: Subscriber) -> str:
    """What the link of this subscriber carries."""
    return _signer.sign(str(subscriber.pk))


def subscriber_of(token: str) -> Subscriber | None:
    """The subscriber whose link carries this, if we have signed it."""
    try:
        return Subscriber.objects.filter(pk=_signer.unsign(token)).first()
    except BadSignature:
        return None


def _plain(email: str) -> str:
    return email.strip().lower()
