"""Limit the emails that strangers can ask for: per address, visitor and network.

Counted in the database, per hour: exact whatever the number of processes, and in the
transaction that sends the email. Addresses and networks are stored as keyed hashes.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum, auto

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from customers.models import Quota
from customers.visitors import network_of, visitor_for

KEPT = timedelta(days=1)


class Decision(Enum):
    """The answer to a request for an email."""

    #: Send it.
    SEND = auto()
    #: The address gets enough emails. Do not send it, and do not say so.
    WITHHOLD = auto()
    #: This visitor or network asks too often. Say so.
    REFUSE = auto()


@transaction.atomic
def spend(request: HttpRequest, *, email: str) -> Decision:
    """Count an email to this address, and decide whether to send it.

    The network and the visitor come first: once they are refused, they cannot use up
    what the owner of the address may ask for.
    """
    if not _spend_one("network", network_of(request)):
        return Decision.REFUSE
    if not _spend_one("visitor", _visitor(request)):
        return Decision.REFUSE
    if not _spend_one("address", inbox_of(email)):
        return Decision.WITHHOLD
    return Decision.SEND


def inbox_of(email: str) -> str:
    """Return one spelling for all addresses that surely lead to the same inbox.

    Letter case, what follows a plus sign, and the two spellings of an international
    domain do not tell inboxes apart.
    """
    local, _, domain = email.strip().casefold().rpartition("@")
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    return f"{local.partition('+')[0]}@{domain}"


def _visitor(request: HttpRequest) -> str:
    if request.user.is_authenticated:
        return f"user {request.user.pk}"
    return str(visitor_for(request.session))


def _spend_one(kind: str, value: str) -> bool:
    """Count one email; return False if the limit of this hour is reached."""
    key = salted_hmac(
        "customers.limits", f"{kind} {value}", algorithm="sha256"
    ).hexdigest()
    hour = _this_hour()
    row, created = Quota.objects.get_or_create(key=key, hour=hour)
    if created:
        Quota.objects.filter(hour__lt=hour - KEPT).delete()
    left = Quota.objects.filter(pk=row.pk, used__lt=settings.EMAILS_PER_HOUR[kind])
    return bool(left.update(used=F("used") + 1))


def _this_hour() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0)
