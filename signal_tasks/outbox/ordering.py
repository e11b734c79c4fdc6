"""The key of an event, under which ordered receivers run its deliveries in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from signal_tasks.db.insert import NewEvent, NewRows
from signal_tasks.db.sequences import NewTurn
from signal_tasks.outbox.keys import ask, key_text, stored
from signal_tasks.outbox.options import SendOptions
from signal_tasks.registry.registry import Receiver

if TYPE_CHECKING:
    from signal_tasks.outbox.write import EncodedEvent

KeyFunction = Callable[..., Any]


def with_key(
    options: SendOptions,
    function: KeyFunction | None,
    signal: str,
    receivers: Sequence[Receiver],
    sender: object,
    named: Mapping[str, Any],
) -> SendOptions:
    """Return the options with the key of this send, as the signal's function says.

    It is called only for an ordered receiver of a send that has no key.

    Raises:
        TypeError, ValueError: the key is of a wrong type, or empty, or not saved; or the
            function does not take what is sent.
    """
    ordered = _ordered(receivers)
    if function is None or ordered is None or options.key:
        return options
    key = ask(function, f"The key= of {signal}", sender, named)
    if key is None:
        return options
    return replace(options, key=key_text(key, f"the key for {ordered.name}"))


def ordering_key(signal: str, key: str, receivers: Sequence[Receiver]) -> str:
    """Return the key, or the subject in its place, if a receiver is ordered; else nothing.

    Raises:
        ValueError: there is none.
    """
    ordered = _ordered(receivers)
    if ordered is not None and not key:
        raise ValueError(
            f"{signal} was sent without a key, which its ordered receiver "
            f"{ordered.name} needs: send it with using(key=...), or declare "
            "AsyncSignal(key=...). A sender that is a model instance is one, and so is "
            "the only model instance among the arguments."
        )
    return stored(key) if ordered is not None else ""


def turns_of(
    batch: Sequence[EncodedEvent], written: Sequence[NewEvent], rows: NewRows
) -> Iterator[NewTurn]:
    """Yield the places in line of what was written of a batch, given all its rows."""
    ordered = {
        receiver.name: receiver.oldest_name
        for event in batch
        if event.key
        for receiver in event.receivers
        if receiver.options.ordered
    }
    if not ordered:
        return
    keys = {new.id: event.key for event, new in zip(batch, rows.events, strict=True)}
    for new in written:
        for pk, name in new.deliveries:
            if name in ordered:
                yield NewTurn(pk, ordered[name], keys[new.id])


def _ordered(receivers: Sequence[Receiver]) -> Receiver | None:
    return next((each for each in receivers if each.options.ordered), None)
