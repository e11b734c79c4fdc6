"""Targets: everything, a receiver, a signal or a queue, as text that a row holds."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from django.dispatch import Signal

from signal_tasks.broker.config import queue_of
from signal_tasks.registry.naming import is_storable
from signal_tasks.registry.registry import Receiver, registry

#: The target that is everything.
EVERYTHING = "*"
KINDS = ("receiver", "signal", "queue")
#: Names that an error suggests.
MAX_SUGGESTIONS = 3


def resolve(target: object) -> str:
    """Return the target as ``*``, ``receiver:NAME``, ``signal:NAME`` or ``queue:NAME``.

    Args:
        target: one of these; a receiver's function, or a signal; or the bare name of
            a receiver, signal or queue that this process knows, looked for in this
            order. A name behind a prefix need not be known here.

    Raises:
        ValueError: it is none of these; with names that are similar.
    """
    if isinstance(target, str):
        return _of_text(target)
    found = _of_signal(target) if isinstance(target, Signal) else _of_function(target)
    if not found:
        raise ValueError(f"{target!r} is no signal and no receiver that is connected")
    if len(found) > 1:
        raise ValueError(f"{target!r} has several names: {', '.join(found)}; give one")
    return found[0]


def targets_of(receiver: Receiver) -> Iterator[str]:
    """Yield the targets that a receiver belongs to, the nearest first.

    Its signals are those of its deliveries, and not among them.
    """
    for name in receiver.names:
        yield f"receiver:{name}"
    queue = queue_of(receiver)
    if queue is not None:
        yield f"queue:{queue}"
    yield EVERYTHING


def names_of(target: str) -> list[str]:
    """Return a stored target, and what it is under the other names that are known here.

    One that was set before a rename is stored under the former name.
    """
    kind, _, name = target.partition(":")
    names = [name]
    if kind == "receiver" and (receiver := registry.receiver(name)):
        names = [*receiver.names]
    elif kind == "signal":
        names = names_of_signal(name)
    return [target, *(f"{kind}:{each}" for each in names if each != name)]


def names_of_signal(name: str) -> list[str]:
    """Return the names under which events of a signal are stored, as known here."""
    signals = registry.signals()
    signal = signals.get(name)
    return [name, *(each for each, other in signals.items() if other is signal)]


def _of_text(text: str) -> str:
    kind, colon, name = text.partition(":")
    if text == EVERYTHING:
        return text
    if colon and kind in KINDS and is_storable(name):
        return f"{kind}:{_main_name(kind, name)}"
    for kind in KINDS:
        if text in _known(kind):
            return f"{kind}:{_main_name(kind, text)}"
    raise ValueError(f"{text!r} is no receiver, signal or queue.{_suggestion(text)}")


def _known(kind: str) -> set[str]:
    if kind == "receiver":
        return set(registry.known_names())
    if kind == "signal":
        return set(registry.signals())
    queues = (queue_of(receiver) for receiver in registry.receivers())
    return {queue for queue in queues if queue is not None}


def _main_name(kind: str, name: str) -> str:
    """Return the name of what ``name`` is an alias of."""
    if kind == "receiver":
        receiver = registry.receiver(name)
        return name if receiver is None else receiver.name
    signal = registry.signal(name) if kind == "signal" else None
    return name if signal is None else _of_signal(signal)[0].partition(":")[2]


def _of_signal(signal: Signal) -> list[str]:
    name = getattr(signal, "name", None)  # an AsyncSignal has one
    known = (each for each, other in registry.signals().items() if other is signal)
    found = name if isinstance(name, str) else next(known, None)
    return [] if found is None else [f"signal:{found}"]


def _of_function(function: object) -> list[str]:
    receivers = registry.receivers()
    return [f"receiver:{r.name}" for r in receivers if r.function() == function]


def _suggestion(text: str) -> str:
    known = sorted(set().union(*map(_known, KINDS)))
    close = difflib.get_close_matches(text, known, n=MAX_SUGGESTIONS)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
