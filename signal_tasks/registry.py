"""Stable names <-> receivers and signals.

A process knows the receivers that its own code connected, and no others: a name
from a message or a row is looked up here and never imported.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal

from signal_tasks.retry import RetryPolicy

ReceiverFunction = Callable[..., Any]
OnMissing = Literal["reject", "skip", "none"]
#: As many characters of a name as a row can hold.
LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How deliveries to one receiver are run; ``connect()`` tells the meaning."""

    queue: str | None = None
    atomic: bool = True
    retry: RetryPolicy | None = None
    timeout: float | None = None
    rate_limit: str | int | None = None
    on_missing: OnMissing = "reject"
    group_commit: bool = True

    def problem(self) -> str:
        """What is wrong with these options, or an empty string."""
        on_missing: object = self.on_missing
        retry: object = self.retry
        if on_missing not in get_args(OnMissing):
            return f"on_missing={self.on_missing!r}; give 'reject', 'skip' or 'none'"
        if self.timeout is not None and not self.timeout > 0:
            return f"timeout={self.timeout!r}; give a positive number of seconds"
        if retry is not None and not isinstance(retry, RetryPolicy):
            return f"retry={self.retry!r}; give a RetryPolicy"
        if self.queue is not None and not (isinstance(self.queue, str) and self.queue):
            return f"queue={self.queue!r}; give the name of a queue"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A function under a stable name, with its options."""

    name: str
    aliases: tuple[str, ...]
    options: Options
    function: Callable[[], ReceiverFunction | None]  # a weak or a strong reference

    @property
    def names(self) -> tuple[str, ...]:
        """The name under which deliveries are written, then the older ones."""
        return (self.name, *self.aliases)


@dataclass(slots=True)
class _Entry:
    receiver: Receiver
    holders: set[Hashable] = field(default_factory=set)


class Registry:
    """The receivers and signals of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._signals: dict[str, Signal] = {}

    def add(self, receiver: Receiver, holder: Hashable) -> None:
        """Make the receiver known for as long as ``holder`` does not release it."""
        for name in receiver.names:
            check_name(name)
        with self._lock:
            entry = None
            for name in receiver.names:
                known = self._entries.get(name)
                if known is None or known.receiver.function() is None:
                    continue
                _refuse_conflict(known.receiver, receiver, name)
                entry = known
            entry = entry or _Entry(receiver)
            entry.receiver = receiver
            entry.holders.add(holder)
            for name in receiver.names:
                self._entries[name] = entry

    def release(self, receiver: Receiver, holder: Hashable) -> None:
        """Forget the receiver when this was its last holder."""
        with self._lock:
            entry = self._entries.get(receiver.name)
            if entry is None:
                return
            entry.holders.discard(holder)
            if not entry.holders:
                for name in entry.receiver.names:
                    self._entries.pop(name, None)

    def receiver(self, name: str) -> Receiver | None:
        """The live receiver of that name or alias."""
        entry = self._entries.get(name)
        if entry is None or entry.receiver.function() is None:
            return None
        return entry.receiver

    def receivers(self) -> Iterator[Receiver]:
        """Every live receiver once."""
        for name, entry in sorted(self._entries.items()):
            if name == entry.receiver.name and entry.receiver.function() is not None:
                yield entry.receiver

    def known_names(self) -> list[str]:
        """Every name and alias under which this process can run a delivery."""
        return [name for receiver in self.receivers() for name in receiver.names]

    def add_signal(self, name: str, signal: Signal) -> None:
        """Let receivers of that signal be handed the signal object itself."""
        check_name(name)
        self._signals[name] = signal

    def signal(self, name: str) -> Signal | None:
        """The signal of that name or alias, if this process has connected to it."""
        return self._signals.get(name)


registry = Registry()


def _refuse_conflict(known: Receiver, new: Receiver, name: str) -> None:
    old_function, new_function = known.function(), new.function()
    if _origin(old_function) != _origin(new_function):
        raise ImproperlyConfigured(
            f"The receiver name {name!r} is taken by {_origin(old_function)}; "
            f"give {_origin(new_function)} another one with name=."
        )
    same_function = old_function is new_function
    if same_function and (known.options, known.names) != (new.options, new.names):
        raise ImproperlyConfigured(
            f"The receiver {name!r} is already connected with other options; "
            "use the same options, or give this connection a name of its own "
            "with name=."
        )


def _origin(function: object) -> str:
    return f"{getattr(function, '__module__', '?')}.{_qualname(function)}"


def _qualname(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def check_name(name: object) -> None:
    """Raise ``ImproperlyConfigured`` for what cannot be stored as a name."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise ImproperlyConfigured(
            f"{name!r} cannot be the name of a signal or receiver; give a string of "
            f"1 to {LONGEST_NAME} characters."
        )


def receiver_name(function: ReceiverFunction, name: str | None, uid: object) -> str:
    """The stable name of a receiver, or ``ImproperlyConfigured``."""
    if name is not None:
        return name
    if isinstance(uid, str):
        return uid
    if problem := _unnameable(function):
        raise ImproperlyConfigured(
            f"{_origin(function)} cannot be a durable receiver as it stands: "
            f"{problem}. Give it a stable name with name= (or a string "
            "dispatch_uid), or connect it with inline=True."
        )
    return f"{function.__module__}.{function.__qualname__}"


def _unnameable(function: object) -> str:
    qualname = getattr(function, "__qualname__", None)
    if qualname is None or not getattr(function, "__module__", None):
        return "it has no qualified name that another process could know"
    if "<lambda>" in qualname:
        return "a lambda has no name that another process could know"
    if "<locals>" in qualname:
        return "a nested function has no name that another process could know"
    bound_to = getattr(function, "__self__", None)
    if isinstance(function, types.MethodType) and not isinstance(bound_to, type):
        return "it is bound to an instance that another process does not have"
    if function.__module__ == "__main__":
        return "__main__ is another module in every process"
    return ""


def signal_name(signal: Signal, module: str) -> str:
    """The ``module.attribute`` that holds this signal, or ``ImproperlyConfigured``."""
    if module != "__main__":
        for attribute, value in vars(sys.modules.get(module, object)).items():
            if value is signal:
                return f"{module}.{attribute}"
    raise ImproperlyConfigured(
        f"An AsyncSignal made in module {module!r} is not one of its attributes, so "
        "it has no name that another process could know. Assign it to a name at the "
        "top of a module, or pass AsyncSignal(name=...)."
    )


def foreign_signal_name(signal: Signal) -> str:
    """The name of a signal that is not ours: where a loaded module holds it."""
    names = {
        f"{module_name}.{attribute}"
        for module_name, module in list(sys.modules.items())
        if isinstance(module, types.ModuleType) and module_name != "__main__"
        for attribute, value in list(vars(module).items())
        if value is signal
    }
    if not names:
        raise ImproperlyConfigured(
            f"No loaded module holds the signal {signal!r} under a name; assign it "
            "to a name at the top of a module first."
        )
    return min(names, key=_likely_home)


def _likely_home(name: str) -> tuple[bool, int, str]:
    module = name.rpartition(".")[0]
    return (not module.endswith("signals"), len(name), name)
