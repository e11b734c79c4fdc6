"""Who sends a request: the visit (a browser session), and the network it comes from."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

VISITOR = "visitor"  # the key in the session
PREFIX = {4: 24, 6: 56}  # bits: what one customer of a provider usually has, or less
UNKNOWN = "unknown"


def visitor_of(session: SessionBase) -> UUID | None:
    """Return the id of this visitor, or None before the first request that needs one."""
    return UUID(session[VISITOR]) if VISITOR in session else None


def visitor_for(session: SessionBase) -> UUID:
    """Return the id of this visitor, new if needed: they may see what they order."""
    return UUID(session.setdefault(VISITOR, str(uuid4())))


def network_of(request: HttpRequest) -> str:
    """Return the network of the client, as the trusted proxies report it."""
    try:
        address = ip_address(_client(request))
    except ValueError:
        return UNKNOWN
    return str(ip_network((address, PREFIX[address.version]), strict=False))


def _client(request: HttpRequest) -> str:
    """Return the address of the client.

    Each trusted proxy has appended the address that it saw to X-Forwarded-For; what
    stands further to the left came from the client, who may have invented it.
    """
    proxies = settings.TRUSTED_PROXIES
    if not proxies:
        return str(request.META.get("REMOTE_ADDR", ""))
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    return forwarded[-proxies].strip() if len(forwarded) >= proxies else ""
