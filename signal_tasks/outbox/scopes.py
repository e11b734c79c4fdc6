"""Capture the context of a send, and give its keys the scope of its tenant.

See Note [Keys] in ``context.carrying``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.db import connections

from signal_tasks import context
from signal_tasks.outbox.causes import causes
from signal_tasks.outbox.keys import stored

if TYPE_CHECKING:
    from signal_tasks.outbox.write import EncodedEvent


def capture(event: EncodedEvent) -> context.StoredContext:
    """Capture the context in which an event is sent."""
    if context.carries_schemas():  # a connection that is not open yet tells no schemas
        connections[event.database].ensure_connection()
    headers = event.options.headers
    return context.stored_context(headers, causes(), database=event.database)


def scoped(event: EncodedEvent, scope: str) -> EncodedEvent:
    """Return an event with the keys of this tenant."""
    coalesced = {name: key_in(scope, key) for name, key in event.coalesced.items()}
    return replace(event, key=key_in(scope, event.key), coalesced=coalesced)


def key_in(scope: str, key: str) -> str:
    """Return the stored text of a key as that of a tenant."""
    return stored(f"{key} of {scope}") if key and scope else key
