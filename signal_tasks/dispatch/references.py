"""Identity of receivers and senders within this process, and references to them."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Self

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


class ConnectionKey(str):
    """The ``dispatch_uid`` of a forwarder, which the foreign signal alone holds.

    It ends with Django's connection, and so does the durable one. The forwarder would
    not do: a traceback may keep that alive, and while the durable connection outlives
    Django's, nobody forwards for those that come after it.

    It is the receiver's name. Django compares it with what a caller gives to
    ``disconnect()``, so that it equals the receiver's own ``dispatch_uid``, or else its
    function, too.
    """

    __slots__ = ("__weakref__", "_function", "_uid", "is_connected")
    _function: Reference
    _uid: object
    is_connected: bool

    def __new__(cls, name: str, function: object, uid: object) -> Self:
        """Make the key of a receiver that is not connected yet."""
        self = super().__new__(cls, name)
        self._function = weak_reference(function)
        self._uid = uid
        self.is_connected = False
        return self

    def __eq__(self, other: object) -> bool:
        if str.__eq__(self, other) is True:
            return True
        if isinstance(other, ConnectionKey):
            own = self._own()
            return own is not None and bool(own == other._own())
        # While it is being connected, Django must not find that function's inline one.
        return self.is_connected and bool(self._own() == other)

    __hash__ = str.__hash__

    def _own(self) -> object:
        """Return what would tell the receiver's connection by in Django."""
        function = self._function()
        return self._uid or (None if function is None else identity(function))


def calling_module(made: object) -> str:
    """Return the module whose code makes ``made``: the first outside constructors."""
    frame = sys._getframe(1)  # noqa: SLF001 - documented; inspect.stack() is slow
    while frame.f_back is not None and frame.f_locals.get("self") is made:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))
