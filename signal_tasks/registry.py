"""Stable names <-> receivers and signals.

A process knows the receivers that its own code connected, and no others: a name
from a message or a row is looked up here and never imported.
"""

from __future__ import annotations

import re
import sys
import threading
import types
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal

from signal_tasks.retry import RetryPolicy

ReceiverFunction = Callable[..., Any]
OnMissing = Literal["reject", "skip", "none"]
#: A signal, for as long as it lives, and what tells its connections apart.
Holder = tuple["weakref.ref[Signal]", Hashable]
#: As many characters of a name as a row can hold.
LONGEST_NAME = 255
YEAR = 366 * 24 * 3600.0


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
        for option, (is_fine, wanted) in _CHECKS.items():
            value = getattr(self, option)
            if not is_fine(value):
                return f"{option}={value!r}; give {wanted}"
        return ""

    def unusual(self) -> list[str]:
        """The options that were set to something else than their default."""
        return [o.name for o in _all if getattr(self, o.name) != o.default]


_all = fields(Options)
_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")

_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "queue": (
        lambda queue: queue is None or (isinstance(queue, str) and bool(queue)),
        "the name of a queue",
    ),
    "atomic": (lambda atomic: isinstance(atomic, bool), "True or False"),
    "retry": (
        lambda retry: retry is None or isinstance(retry, RetryPolicy),
        "a RetryPolicy",
    ),
    "timeout": (
        lambda timeout: timeout is None or _is_duration(timeout),
        "a positive number of seconds",
    ),
    "rate_limit": (
        lambda rate: rate is None or _RATE.fullmatch(str(rate)) is not None,
        'a number per second, or text such as "10/m"',
    ),
    "on_missing": (
        lambda on_missing: on_missing in get_args(OnMissing),
        "'reject', 'skip' or 'none'",
    ),
    "group_commit": (lambda group: isinstance(group, bool), "True or False"),
}


def _is_duration(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < cast("float", value) <= YEAR


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
    holders: set[Holder] = field(default_factory=set)

    @property
    def is_live(self) -> bool:
        """Whether its function, and a signal that it is connected to, are there."""
        signals = (signal() for signal, _ in list(self.holders))
        return self.receiver.function() is not None and any(
            signal is not None for signal in signals
        )


class Registry:
    """The receivers and signals of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._signals: weakref.WeakValueDictionary[str, Signal] = (
            weakref.WeakValueDictionary()
        )

    def add(self, receiver: Receiver, holder: Holder) -> None:
        """Make the receiver known for as long as ``holder`` does not release it."""
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
            entry.holders.add(holder)
            for name in receiver.names:
                self._entries[name] = entry

    def release(self, receiver: Receiver, holder: Holder) -> None:
        """Forget the receiver when this was its last holder."""
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
        """The live receiver of that name or alias."""
        entry = self._entries.get(name)
        return entry.receiver if entry is not None and entry.is_live else None

    def receivers(self) -> Iterator[Receiver]:
        """Every live receiver once."""
        for name, entry in sorted(self._entries.copy().items()):
            if name == entry.receiver.name and entry.is_live:
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
    same_function = old_function == new_function  # bound methods are made anew
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
    is_text = isinstance(name, str) and name.isprintable()
    if not is_text or not 0 < len(cast("str", name)) <= LONGEST_NAME:
        raise ImproperlyConfigured(
            f"{name!r} cannot be the name of a signal or receiver; give a string of "
            f"1 to {LONGEST_NAME} printable characters."
        )


def names(aliases: str | Iterable[str]) -> tuple[str, ...]:
    """Former names, of which there may be only one."""
    return (aliases,) if isinstance(aliases, str) else tuple(aliases)


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


def foreign_signal_names(signal: Signal) -> list[str]:
    """The names of a signal that is not ours: where loaded modules hold it.

    First the likely home; another process may have loaded other modules, and file
    its events under another of these names.
    """
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
    return sorted(names, key=_likely_home)


def _likely_home(name: str) -> tuple[bool, bool, int, str]:
    module = name.rpartition(".")[0]
    elsewhere = not module.startswith("django.")  # Django imports only its own
    return (elsewhere, not module.endswith("signals"), len(name), name)
