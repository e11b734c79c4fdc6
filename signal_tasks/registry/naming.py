"""Stable names of receivers and signals, which other processes can know."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal

ReceiverFunction = Callable[..., Any]
#: Characters of a name that a row can hold.
MAX_NAME_LENGTH = 255
#: The signal and the receiver of ``doctor``'s test event.
PROBE = "signal_tasks.doctor"


def origin(function: object) -> str:
    """Return the ``module.qualname`` of a function, by which it is named and shown."""
    owner = _owning_class(function) or function
    return f"{getattr(owner, '__module__', '?')}.{qualname_of(function)}"


def qualname_of(function: object) -> str:
    """Return the qualified name of a function; for other callables, their text.

    A method of a class is named by the class it is bound to. Its own qualified name is
    that of the class that defines it, which all classes that inherit it share.
    """
    owner = _owning_class(function)
    if owner is not None:
        return f"{owner.__qualname__}.{getattr(function, '__name__', '?')}"
    return getattr(function, "__qualname__", None) or repr(function)


def _owning_class(function: object) -> type | None:
    """Return the class that a method is bound to; None if it is bound to none."""
    owner = getattr(function, "__self__", None)
    is_bound = isinstance(function, types.MethodType) and isinstance(owner, type)
    return cast("type", owner) if is_bound else None


def name_of(code: object) -> str:
    """Return the dotted name of a function, method or module."""
    return code.__name__ if isinstance(code, types.ModuleType) else origin(code)


def is_storable(name: object) -> bool:
    """Return True for a name that a row can hold."""
    is_text = isinstance(name, str) and name.isprintable() and name == name.strip()
    return is_text and 0 < len(cast("str", name)) <= MAX_NAME_LENGTH


def check_name(name: object) -> None:
    """Raise ``ImproperlyConfigured`` for a name that a row cannot hold."""
    if not is_storable(name):
        raise ImproperlyConfigured(
            f"{name!r} cannot be the name of a signal or receiver; give a string of "
            f"1 to {MAX_NAME_LENGTH} printable characters, without spaces around it."
        )


def as_names(given: object, label: str = "aliases") -> tuple[str, ...]:
    """Return names as a tuple; a single one may be given as a string.

    Raises:
        TypeError: these are no names. ``label`` is the option that holds them.
    """
    if isinstance(given, str):
        return (given,)
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{label} is {given!r}; give a name, or several")
    return tuple(given)


def as_arguments(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of sensitive arguments; a single one may be given as a string.

    Raises:
        TypeError: one of them is no name of an argument.
    """
    found = as_names(names, "AsyncSignal: sensitive")
    for name in found:
        if not isinstance(name, str) or not name.isidentifier():
            raise TypeError(
                f"AsyncSignal: sensitive names {name!r}; give the names of arguments, "
                'as sensitive=("email",)'
            )
    return found


def receiver_name(function: ReceiverFunction, name: str | None, uid: object) -> str:
    """Return the stable name of a receiver, or raise ``ImproperlyConfigured``."""
    if name is not None:
        return name
    if isinstance(uid, str):
        return uid
    if error := _naming_error(function):
        raise ImproperlyConfigured(
            f"{origin(function)} cannot be a durable receiver as it stands: "
            f"{error}. Give it a stable name with name= (or a string "
            "dispatch_uid), or connect it with inline=True."
        )
    return origin(function)


def _naming_error(function: object) -> str:
    owner = _owning_class(function) or function
    if not getattr(function, "__qualname__", None) or not owner.__module__:
        return "it has no qualified name that another process could know"
    qualname = qualname_of(function)
    if "<lambda>" in qualname:
        return "a lambda has no name that another process could know"
    if "<locals>" in qualname:
        return "a nested function has no name that another process could know"
    if isinstance(function, types.MethodType) and owner is function:
        return "it is bound to an instance that another process does not have"
    if owner.__module__ == "__main__":
        return "__main__ is another module in every process"
    return ""


def share_name(old: Any, new: Any, name: str) -> bool:
    """Return True if two functions of the same code have this name by default.

    A function that replaces the old one has other code: its module was loaded again.
    """
    old_code = getattr(inspect.unwrap(old), "__code__", None)
    new_code = getattr(inspect.unwrap(new), "__code__", None)
    return name == origin(new) and old_code is new_code is not None


def signal_name(signal: Signal, module: str) -> str:
    """Return the ``module.attribute`` that holds this signal.

    Raises ``ImproperlyConfigured`` when none does.
    """
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
    """Return the names under which loaded modules hold a signal that is not ours.

    The likely home comes first. Another process may have loaded other modules, and
    store its events under another of these names.
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
