"""The surroundings of a receiver, for what it leaves to ``transaction.on_commit`` too.

# Note [Surroundings]
A hook is a part of the receiver that has left it: it runs in the context of the same
sender (the schemas of another tenant are not to be read), and what it sends has the same
cause, without which a loop would never end. But several deliveries share a transaction,
and by its commit each has left its surroundings. So the hooks are bound to them when the
receiver returns. Our own need none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any

from django.db import connections

Enter = Callable[[], AbstractContextManager[Any]]


@contextmanager
def surrounding(database: str, enter: Enter) -> Iterator[None]:
    """Enter the surroundings of a block, and have the hooks that it leaves enter them.

    See Note [Surroundings]. A block that raises may leave some, too: to a transaction
    around it, as that of a ``TestCase``, if it is not atomic.
    """
    connection: Any = connections[database]
    before = len(connection.run_on_commit)
    try:
        with enter():
            yield
    finally:
        if left := connection.run_on_commit[before:]:
            bound = [_bound(enter, *entry) for entry in left]
            connection.run_on_commit[before:] = bound


def _bound(
    enter: Enter, savepoints: Any, hook: Callable[[], object], *rest: Any
) -> tuple[Any, ...]:
    """Return the entry of a hook that enters these surroundings."""

    @wraps(hook)
    def run() -> None:
        with enter():
            hook()

    is_ours = str(getattr(hook, "__module__", "")).startswith("signal_tasks.")
    return (savepoints, hook if is_ours else run, *rest)
