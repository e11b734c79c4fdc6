"""What tells one receiver, sender or signal from another within this process."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

Reference = Callable[[], Any]


def identity(target: object) -> Any:
    """As in Django: the object itself, or what a bound method is bound to."""
    function = getattr(target, "__func__", None)
    if function is not None:
        return (id(getattr(target, "__self__", None)), id(function))
    return id(target)


def receiver_reference(receiver: Any, *, weak: bool) -> Reference:
    """How to reach a receiver, for as long as somebody else keeps it if ``weak``."""
    if not weak:
        return lambda: receiver
    if hasattr(receiver, "__self__") and hasattr(receiver, "__func__"):
        return weakref.WeakMethod(receiver)
    return weakref.ref(receiver)


def sender_reference(sender: object) -> Reference:
    """How to reach a sender, without keeping it alive where that is possible."""
    try:
        return receiver_reference(sender, weak=True)
    except TypeError:  # None, strings and others that cannot be referred to weakly
        return lambda: sender


def calling_module(made: object) -> str:
    """The module whose code makes ``made``: the first outside its constructors."""
    frame = sys._getframe(1)  # noqa: SLF001 - documented; inspect.stack() is slow
    while frame.f_back is not None and frame.f_locals.get("self") is made:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))
