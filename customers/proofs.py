"""Prove that an email address belongs to whoever typed it.

Anybody can type anybody's address. So an address gets one kind of email until it is
proved: a signed link, with nothing in it that the person who typed it has chosen. The
proof is that of one account or one visit: that an address is proved for its owner does
not let a stranger use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self
from uuid import UUID

from django.core import signing
from django.db import transaction
from django.http import HttpRequest

from customers.limits import Decision, spend
from customers.models import AddressProof
from customers.signals import proof_requested
from customers.visitors import visitor_for
from signal_tasks import DeliveryHandle

MAX_AGE = 24 * 3600  # seconds that a link works


class Purpose(StrEnum):
    """The purpose of a proof of an address. A link serves no other purpose."""

    #: Emails about an order, and the notification that a user sends to themselves.
    ADDRESS = "address"
    #: The newsletter.
    NEWSLETTER = "newsletter"
    #: The link by which one leaves the newsletter.
    LEAVE = "leave"
    #: An account.
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Somebody says that an address is theirs: an account, or else a visitor."""

    email: str
    user_id: int | None = None
    visitor: str | None = None

    @classmethod
    def of(cls, request: HttpRequest, email: str) -> Self:
        """Return the claim of who sends this request."""
        if request.user.is_authenticated:
            return cls(email=plain(email), user_id=request.user.pk)
        return cls(email=plain(email), visitor=str(visitor_for(request.session)))

    def token(self, purpose: Purpose) -> str:
        """Return the signed text that a link carries."""
        return signing.dumps(asdict(self), salt=_salt(purpose))

    @classmethod
    def read(cls, token: str, purpose: Purpose) -> Self | None:
        """Return the claim of a link; None if it is old, forged, or of other purpose."""
        try:
            return cls(**signing.loads(token, salt=_salt(purpose), max_age=MAX_AGE))
        except signing.BadSignature:
            return None


@transaction.atomic
def request_proof(
    request: HttpRequest,
    *,
    email: str,
    purpose: Purpose,
    note: Callable[[UUID], None] | None = None,
) -> bool:
    """Have a link sent to this address; return False if they ask too often.

    ``note`` gets the id of the event, in its transaction. An address that got many
    links gets no more for a while. That is not told: it would say what others do with it.
    """
    decision = spend(request, email=email)
    if decision is Decision.SEND:
        claim = Claim.of(request, email)
        responses = proof_requested.send(
            sender=None, purpose=purpose.value, **asdict(claim)
        )
        for _, handle in responses[:1]:
            if note and isinstance(handle, DeliveryHandle):
                note(handle.event_id)
    return decision is not Decision.REFUSE


def accept(claim: Claim) -> None:
    """Write down that an address is proved."""
    AddressProof.objects.get_or_create(**asdict(claim))


def is_proved(*, email: str, user_id: int | None, visitor: UUID | None) -> bool:
    """Return True if this account or this visitor has proved the address."""
    proofs = AddressProof.objects.filter(email=plain(email))
    by_user = user_id is not None and proofs.filter(user_id=user_id).exists()
    return by_user or (visitor is not None and proofs.filter(visitor=visitor).exists())


def plain(email: str) -> str:
    """Return an address as it is stored: without spaces, in lower case."""
    return email.strip().lower()


def _salt(purpose: Purpose) -> str:
    return f"customers.proofs.{purpose.value}"
