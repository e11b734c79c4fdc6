"""The key of an event, under which ordered receivers run its deliveries in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Model

from signal_tasks.codec import Snapshot
from signal_tasks.outbox.keys import key_text
from signal_tasks.registry.registry import Receiver

KeyFunction = Callable[..., Any]


def ordering_key(
    signal: str,
    sender: object,
    named: Mapping[str, Any],
    ordered: Receiver,
    function: KeyFunction | None,
) -> str:
    """Return the key of an event that was sent without one, for an ordered receiver.

    That of the signal's ``function``, else the event's subject.

    Raises:
        TypeError: the key is no str, int, UUID or model instance.
        ValueError: there is none, or it is empty, or an instance that is not saved.
    """
    key = None if function is None else function(sender, **named)
    if key is None:
        key = _subject(sender, named)
    if key is None:
        raise ValueError(
            f"{signal} was sent without a key, which its ordered receiver "
            f"{ordered.name} needs: send it with using(key=...), or declare "
            "AsyncSignal(key=...). A sender that is a model instance is one, and so is "
            "the only model instance among the arguments."
        )
    return key_text(key, f"{signal}: the key for {ordered.name}")


def _subject(sender: object, named: Mapping[str, Any]) -> Model | None:
    """Return the object that the event is about, as far as that is clear."""
    if isinstance(sender := _unfrozen(sender), Model):
        return sender
    values = map(_unfrozen, named.values())
    instances = [value for value in values if isinstance(value, Model)]
    first = instances[0] if instances else None
    return first if all(value == first for value in instances) else None


def _unfrozen(value: object) -> object:
    return value.instance if isinstance(value, Snapshot) else value
