"""Hide the values of sensitive arguments: every surface shows payloads through this.

``AsyncSignal(sensitive=...)`` names them. Their names are stored with each event, so
that they are hidden by processes that do not know the signal, too; an event that is
older than the declaration is hidden by those that do.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from signal_tasks import stored_json
from signal_tasks.codec.payload import SENDER, SENSITIVE
from signal_tasks.exceptions import DecodeError
from signal_tasks.registry.registry import registry

#: Shown in place of a value.
REDACTED = "(redacted)"
#: Raised by a payload of another form.
DAMAGES = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
#: A payload that names sensitive arguments contains this.
MARK = f'"{SENSITIVE}":'


def names_of(signal: str) -> frozenset[str]:
    """Return the sensitive arguments of a signal, as this process knows it."""
    return frozenset(getattr(registry.signal(signal), "sensitive", ()))


def redacted(signal: str, payload: str) -> str:
    """Return a stored payload without the values of its sensitive arguments.

    The same text if it has none. One that is damaged is hidden as a whole.
    """
    names = names_of(signal)
    if not names and MARK not in payload:
        return payload
    try:
        found = stored_json.read(payload)
        return json.dumps(_without(found, names))
    # Nobody knows what a damaged one would show.
    except (DecodeError, *DAMAGES):
        return REDACTED


def _without(found: Any, names: Collection[str]) -> Any:
    hidden = {*names, *found.get(SENSITIVE, ())}
    sender = REDACTED if SENDER in hidden else found["sender"]
    return {**found, "sender": sender, "kwargs": _kwargs(found["kwargs"], hidden)}


def _kwargs(stored: Mapping[str, Any], hidden: Collection[str]) -> Any:
    flat = stored.get("$dict") if len(stored) == 1 else None
    if not isinstance(flat, list):
        return {name: _value(name, stored[name], hidden) for name in stored}
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {
        "$dict": [part for k, v in pairs for part in (k, _value(k, v, hidden))],
    }


def _value(name: object, value: Any, hidden: Collection[str]) -> Any:
    return REDACTED if name in hidden else value
