"""The hooks that carry the context of a sender to its receivers.

# Note [Keys]
Rows of different tenants have equal primary keys, so keys that are made of them say
nothing without the tenant: two sends under one key would be merged, one would be taken
for a duplicate of the other, or wait behind its dead letter. So what a hook with
``carries_schemas`` has captured is a part of each key under which something is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from signal_tasks.conf import settings
from signal_tasks.context.current import CORRELATION
from signal_tasks.exceptions import DecodeError
from signal_tasks.spans import TRACEPARENT

#: The name under which the chain of causes is stored.
CAUSES = "signal_tasks.causes"
#: Names under which values are stored that belong to no hook.
OWN_NAMES = frozenset({TRACEPARENT, CORRELATION, CAUSES})


class ContextHook(Protocol):
    """Carries one part of the sender's context to the receivers.

    The class is made once in a process, without arguments. One that carries the
    PostgreSQL schemas of the sender says so with ``carries_schemas = True``: Note [Keys].
    One whose value tells one event from another, as the id of a request, says
    ``splits_batches = False``: it is not restored around a call for several deliveries.

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


def unshared() -> frozenset[str]:
    """Return the names of what is not restored for several deliveries at a time."""
    own = {hook.name for hook in hooks() if not getattr(hook, "splits_batches", True)}
    return OWN_NAMES | own


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


def hooks_for(carried: Mapping[str, Any]) -> list[ContextHook]:
    """Return the hooks that restore what an event carries.

    Raises:
        DecodeError: a part of it has no hook in this process.
    """
    found = hooks()
    unknown = carried.keys() - {hook.name for hook in found} - OWN_NAMES
    if unknown:
        raise DecodeError(
            f"this process restores no context {', '.join(map(repr, sorted(unknown)))}; "
            "see SIGNAL_TASKS['CONTEXT']"
        )
    return [hook for hook in found if hook.name in carried]


@contextmanager
def restored(carried: Mapping[str, Any]) -> Iterator[None]:
    """Run a block in the context of the sender: whatever the hooks raise propagates.

    Raises:
        DecodeError: a part of it has no hook in this process.
    """
    with ExitStack() as stack:
        for hook in hooks_for(carried):
            stack.enter_context(hook.restore(carried[hook.name]))
        yield


def key_scope(carried: Mapping[str, Any], database: str) -> str:
    """Return the tenant whose keys are meant, as text; often nothing: Note [Keys].

    A hook may have a function ``key_scope`` that tells it from its value. Without,
    each of its values is a tenant.
    """
    found = []
    for hook in hooks():
        if getattr(hook, "carries_schemas", False) and hook.name in carried:
            tell = getattr(hook, "key_scope", _whole)
            found.append(tell(carried[hook.name], database))
    return " ".join(filter(None, found))


def _whole(value: Any, database: str) -> str:
    return json.dumps(value, sort_keys=True)


def carries_schemas() -> bool:
    """Return True if a hook carries the PostgreSQL schemas of the sender."""
    return any(getattr(hook, "carries_schemas", False) for hook in hooks())
