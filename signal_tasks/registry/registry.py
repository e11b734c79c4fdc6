"""The receivers and signals of this process, by their stable names.

A process knows the receivers that its own code connected, and no others: a name
from a message or a row is looked up here and never imported.

# Note [Renames]
While a deploy renames a receiver, workers of the old and of the new code run the same
deliveries. What they have to agree on is kept under the oldest name, the first of its
aliases, which both of them know: the order of its keys, what is held and at which gate,
its places, its rate and its breaker. What people read has the present name.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal

from signal_tasks.conf import settings
from signal_tasks.registry.naming import (
    ReceiverFunction,
    check_name,
    origin,
    share_name,
)
from signal_tasks.registry.options import Options
from signal_tasks.retry import RetryPolicy

#: A signal, for as long as it lives, and what tells its connections apart.
Holder = tuple["weakref.ref[Signal]", Hashable]
#: A lease outlives the receiver's soft time limit by this long (seconds).
LEASE_GRACE = 10.0
#: A receiver that outlives its soft time limit by this long is killed (seconds).
HARD_LIMIT_GRACE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A function under a stable name, with its options."""

    name: str
    aliases: tuple[str, ...]
    options: Options
    function: Callable[[], ReceiverFunction | None]  # a weak or a strong reference

    @property
    def names(self) -> tuple[str, ...]:
        """The name under which deliveries are written, then the former ones."""
        return (self.name, *self.aliases)

    @property
    def policy(self) -> RetryPolicy:
        """The receiver's retry policy, or the project's."""
        return self.options.retry or settings().RETRY

    @property
    def queue(self) -> str | None:
        """The receiver's queue, or the project's; None leaves it to Celery's routes."""
        return self.options.queue or settings().QUEUE

    @property
    def oldest_name(self) -> str:
        """The name of its sequences, its gate and its slots, which does not change.

        See Note [Renames].
        """
        return self.aliases[0] if self.aliases else self.name

    @property
    def skips_dead(self) -> bool:
        """True if a dead letter lets those behind it run."""
        return self.options.ordered and self.options.on_dead == "skip"

    @property
    def lease_seconds(self) -> float:
        """Seconds for which a worker may hold one of its deliveries."""
        timeout = self.options.timeout
        return settings().LEASE if timeout is None else timeout + LEASE_GRACE

    @property
    def time_limits(self) -> tuple[float, float] | None:
        """The hard and the soft limit of one run (seconds), if it has its own."""
        timeout = self.options.timeout
        return None if timeout is None else (timeout + HARD_LIMIT_GRACE, timeout)


class DurableSignal(Protocol):
    """A signal with durable receivers: the part of it that a relay may ask."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which its events are stored."""

    def shares_events(self, receiver: str) -> bool:
        """Return True if what the receiver hears leaves one event a send."""

    def would_deliver(
        self, receiver: str, sender: object, named: Mapping[str, Any]
    ) -> bool:
        """Return True if a send that was stored would be delivered to the receiver."""


@dataclass(slots=True)
class _Entry:
    receiver: Receiver
    holders: set[Holder] = field(default_factory=set)

    @property
    def is_live(self) -> bool:
        """True while its function and a signal that it is connected to exist."""
        signals = (signal() for signal, _ in list(self.holders))
        return self.receiver.function() is not None and any(
            signal is not None for signal in signals
        )


class Registry:
    """The receivers and signals of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._gone: set[str] = set()
        self._signals: weakref.WeakValueDictionary[str, Signal] = (
            weakref.WeakValueDictionary()
        )

    def add(self, receiver: Receiver, holder: Holder) -> None:
        """Make the receiver known until ``holder`` releases it."""
        for name in receiver.names:
            check_name(name)
        with self._lock:
            entry = None
            for name in receiver.names:
                known = self._entries.get(name)
                if known is None or not known.is_live:
                    continue
                _refuse_conflict(known.receiver, receiver, name)
                entry = known
            entry = entry or _Entry(receiver)
            entry.receiver = receiver
            self._gone.discard(receiver.name)
            entry.holders.add(holder)
            for name in receiver.names:
                self._entries[name] = entry

    def release(self, receiver: Receiver, holder: Holder) -> None:
        """Forget the receiver if this was its last holder."""
        with self._lock:
            entry = self._entries.get(receiver.name)
            if entry is None:
                return
            entry.holders.discard(holder)
            if not entry.holders:
                for name in entry.receiver.names:
                    if self._entries.get(name) is entry:
                        del self._entries[name]

    def receiver(self, name: str) -> Receiver | None:
        """Return the live receiver of that name or alias."""
        entry = self._entries.get(name)
        return entry.receiver if entry is not None and entry.is_live else None

    def note_gone(self, name: str) -> Callable[[object], None]:
        """Return what a weak reference calls once its receiver does not exist any more.

        A process keeps what it connects while it starts, so a receiver that is gone by
        then was held by nobody. Later ones may come and go.
        """

        def gone(_: object) -> None:
            if not apps.ready and self.receiver(name) is None:
                self._gone.add(name)

        return gone

    def gone(self) -> list[str]:
        """Return the names of receivers that nobody held while this process started."""
        return sorted(self._gone)

    def receivers(self) -> Iterator[Receiver]:
        """Yield every live receiver once, by name."""
        for name, entry in sorted(self._entries.copy().items()):
            if name == entry.receiver.name and entry.is_live:
                yield entry.receiver

    def signal_names(self, receiver: Receiver) -> list[str]:
        """Return the names of the signals that a receiver is connected to."""
        entry = self._entries.get(receiver.name)
        signals = [signal() for signal, _ in list(entry.holders)] if entry else []
        names = {getattr(signal, "name", "") for signal in signals}
        return sorted(names - {""})

    def known_names(self) -> list[str]:
        """Return every name and alias under which this process can run a delivery."""
        return [name for receiver in self.receivers() for name in receiver.names]

    def signals_of(self, name: str) -> list[DurableSignal]:
        """Return the signals to which the receiver of that name is connected."""
        entry = self._entries.get(name)
        if entry is None or not entry.is_live:
            return []
        signals = {
            id(found): found for ref, _ in list(entry.holders) if (found := ref())
        }
        return [cast("DurableSignal", signal) for signal in signals.values()]

    def names_of(self, signal: Signal) -> list[str]:
        """Return the names of a signal with durable receivers in this process."""
        return [name for name, known in self._signals.items() if known is signal]

    def add_signal(self, name: str, signal: Signal) -> None:
        """Remember the signal, so that its receivers get the object itself."""
        check_name(name)
        self._signals[name] = signal

    def signal(self, name: str) -> Signal | None:
        """Return the signal of that name or alias, if this process connected to it."""
        return self._signals.get(name)

    def signals(self) -> dict[str, Signal]:
        """Return the signals that this process connected to, by name and alias."""
        return dict(self._signals)

    def names_of_signals(self, receiver: Receiver) -> list[str]:
        """Return the names and aliases of the signals that it is connected to."""
        entry = self._entries.get(receiver.name)
        holders = () if entry is None else entry.holders
        live = [signal() for signal, _ in list(holders)]
        return [
            name
            for name, signal in self.signals().items()
            if any(signal is each for each in live)
        ]


registry = Registry()


def _refuse_conflict(known: Receiver, new: Receiver, name: str) -> None:
    old_function, new_function = known.function(), new.function()
    if origin(old_function) != origin(new_function):
        raise ImproperlyConfigured(
            f"The receiver name {name!r} is taken by {origin(old_function)}; "
            f"give {origin(new_function)} another one with name=."
        )
    same_function = old_function == new_function  # bound methods are made anew
    if not same_function and share_name(old_function, new_function, name):
        raise ImproperlyConfigured(
            f"The receiver name {name!r} is taken by another function that runs the "
            "same code, and only one of them would run; give each a name of its own "
            "with name=."
        )
    if same_function and (known.options, known.names) != (new.options, new.names):
        raise ImproperlyConfigured(
            f"The receiver {name!r} is already connected with other options; "
            "use the same options, or give this connection a name of its own "
            "with name=."
        )
