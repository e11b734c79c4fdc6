"""The hooks that carry the context of a sender to its receivers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from signal_tasks.conf import settings
from signal_tasks.context.current import CORRELATION
from signal_tasks.spans import TRACEPARENT

#: The name under which the chain of causes is stored.
CAUSES = "signal_tasks.causes"
#: Names under which values are stored that belong to no hook.
OWN_NAMES = frozenset({TRACEPARENT, CORRELATION, CAUSES})


class ContextHook(Protocol):
    """Carries one part of the sender's context to the receivers.

    The class is made once in a process, without arguments. One that carries the
    PostgreSQL schemas of the sender says so with ``carries_schemas = True``.

    Attributes:
        name: under which its values are stored; never change it.
    """

    name: str

    def capture(self) -> Any:
        """Return a JSON value for what is to be restored, or None for nothing.

        Called in ``send()``; what it raises propagates, and nothing is written.
        """

    def restore(self, value: Any) -> AbstractContextManager[Any]:
        """Return a context manager around decoding and the receiver.

        What it raises on entry makes a dead letter (``undecodable``), except for
        ``Retry``, ``Reject`` and a lost connection to the database.
        """


def hooks() -> Sequence[ContextHook]:
    """Return the hooks of ``SIGNAL_TASKS["CONTEXT"]``.

    Raises:
        ImproperlyConfigured: a path leads to no such class.
    """
    paths = settings().CONTEXT
    return _hooks(tuple(paths)) if paths else ()


@lru_cache(maxsize=16)
def _hooks(paths: tuple[str, ...]) -> Sequence[ContextHook]:
    made = [_hook(path) for path in paths]
    names = [hook.name for hook in made]
    if len(set(names)) < len(names):
        raise ImproperlyConfigured(
            f"Classes of SIGNAL_TASKS['CONTEXT'] share a name: {', '.join(names)}."
        )
    if taken := OWN_NAMES.intersection(names):
        raise ImproperlyConfigured(
            f"The name {min(taken)!r} of a class of SIGNAL_TASKS['CONTEXT'] is taken."
        )
    return tuple(made)


def _hook(path: str) -> ContextHook:
    try:
        hook: ContextHook = import_string(path)()
    except (ImportError, TypeError) as error:
        raise ImproperlyConfigured(
            f"SIGNAL_TASKS['CONTEXT'] names {path!r}: {error}"
        ) from error
    methods = (getattr(hook, "capture", None), getattr(hook, "restore", None))
    if not all(map(callable, methods)) or not isinstance(
        getattr(hook, "name", None), str
    ):
        raise ImproperlyConfigured(
            f"SIGNAL_TASKS['CONTEXT'] names {path!r}, which needs a name (a string) "
            "and the methods capture() and restore(value)."
        )
    return hook


def carries_schemas() -> bool:
    """Return True if a hook carries the PostgreSQL schemas of the sender."""
    return any(getattr(hook, "carries_schemas", False) for hook in hooks())
