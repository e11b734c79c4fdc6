"""Identity of receivers and senders within this process, and references to them."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

Reference = Callable[[], Any]


def identity(target: object) -> Any:
    """Return the id of the object, or of the parts of a bound method, as in Django."""
    function = getattr(target, "__func__", None)
    if function is not None:
        return (id(getattr(target, "__self__", None)), id(function))
    return id(target)


def receiver_reference(receiver: Any, *, weak: bool) -> Reference:
    """Return a reference to a receiver; if ``weak``, one that does not keep it alive."""
    if not weak:
        return lambda: receiver
    if hasattr(receiver, "__self__") and hasattr(receiver, "__func__"):
        return weakref.WeakMethod(receiver)
    return weakref.ref(receiver)


def sender_reference(sender: object) -> Reference:
    """Return a reference to a sender that does not keep it alive, where possible."""
    try:
        return receiver_reference(sender, weak=True)
    except TypeError:  # None, strings and others that cannot be referred to weakly
        return lambda: sender


def calling_module(made: object) -> str:
    """Return the module whose code makes ``made``: the first outside constructors."""
    frame = sys._getframe(1)  # noqa: SLF001 - documented; inspect.stack() is slow
    while frame.f_back is not None and frame.f_locals.get("self") is made:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))
