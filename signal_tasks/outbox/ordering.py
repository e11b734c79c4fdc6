"""The key of an event, under which ordered receivers run its deliveries in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from signal_tasks.outbox.keys import key_text
from signal_tasks.registry.registry import Receiver

KeyFunction = Callable[..., Any]


def ordering_key(signal: str, ordered: Receiver, key: Any, subject: str) -> str:
    """Return the key of an event for an ordered receiver: the given one, or the subject.

    Raises:
        TypeError: the key is no str, int, UUID or model instance.
        ValueError: there is none, or it is empty, or an instance that is not saved.
    """
    if key is not None:
        return key_text(key, f"{signal}: the key for {ordered.name}")
    if not subject:
        raise ValueError(
            f"{signal} was sent without a key, which its ordered receiver "
            f"{ordered.name} needs: send it with using(key=...), or declare "
            "AsyncSignal(key=...). A sender that is a model instance is one, and so is "
            "the only model instance among the arguments."
        )
    return subject
