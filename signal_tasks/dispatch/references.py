"""Identity of receivers and senders within this process, and references to them."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured

Reference = Callable[[], Any]


def identity(target: object) -> Any:
    """Return the id of the object, or of the parts of a bound method, as in Django."""
    function = getattr(target, "__func__", None)
    if function is not None:
        return (id(getattr(target, "__self__", None)), id(function))
    return id(target)


def receiver_reference(
    receiver: Any, *, weak: bool, gone: Callable[[object], None] | None = None
) -> Reference:
    """Return a reference to a receiver; if ``weak``, one that does not keep it alive.

    ``gone`` is called when a weak reference has outlived its receiver.

    Raises:
        ImproperlyConfigured: a weak reference to a partial, which hardly anybody holds.
    """
    if not weak:
        return lambda: receiver
    if isinstance(receiver, partial):
        raise ImproperlyConfigured(
            f"{receiver!r} would be gone as soon as nobody holds it, and its deliveries "
            "would never be written; connect a partial with weak=False."
        )
    return _weak(receiver, gone)


def weak_reference(target: object) -> Reference:
    """Return a reference that does not keep the target alive, where possible."""
    try:
        return _weak(target)
    except TypeError:  # None, strings and others that cannot be referred to weakly
        return lambda: target


def _weak(target: Any, gone: Callable[[object], None] | None = None) -> Reference:
    if hasattr(target, "__self__") and hasattr(target, "__func__"):
        return weakref.WeakMethod(target, gone)
    return weakref.ref(target, gone)


def calling_module(made: object) -> str:
    """Return the module whose code makes ``made``: the first outside constructors."""
    frame = sys._getframe(1)  # noqa: SLF001 - documented; inspect.stack() is slow
    while frame.f_back is not None and frame.f_locals.get("self") is made:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))
