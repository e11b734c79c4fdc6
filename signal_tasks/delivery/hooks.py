"""Run what receivers have left to ``transaction.on_commit``, each for itself.

# Note [Hooks]
Django runs the hooks of a transaction inside of the call that commits it, and stops at
the first that fails. The error of a hook would look like that of a commit, and the
hooks of the other deliveries would be lost. So they are taken from the transaction
before the commit and run after it, when the outcomes are written. A delivery whose
hook fails has succeeded: the hook is not run again, and its error is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections

from signal_tasks import signals
from signal_tasks.db.session import DropIfLost
from signal_tasks.delivery.interrupt import STOPS, is_from_outside
from signal_tasks.models import Delivery


def take(database: str) -> Sequence[Any]:
    """Take the hooks from the transaction that is about to be committed.

    Those of a transaction around ours, as that of a ``TestCase``, are left to it.
    """
    connection: Any = connections[database]
    if not connection.run_on_commit or connection.savepoint_ids:
        return ()
    hooks, connection.run_on_commit = connection.run_on_commit, []
    return hooks  # type: ignore[no-any-return]


def run(hooks: Sequence[Any], receiver: str, database: str) -> list[BaseException]:
    """Run the hooks of a transaction that is committed; return and tell their errors.

    Raises what ends the process from outside, after the last hook.
    """
    errors = [error for hook in hooks if (error := _error_of(hook, database))]
    for error in errors:
        details = signals.CommitHookFailed(
            receiver=receiver, database=database, error=error
        )
        signals.commit_hook_failed.send_robust(Delivery, details=details)
    for error in errors:
        if isinstance(error, STOPS) and is_from_outside(error):
            raise error
    return errors


def _error_of(hook: Any, database: str) -> BaseException | None:
    """Have Django run a hook; return what it raises.

    Each is a project's own code, as a receiver is, and may end no worker.
    """
    connection: Any = connections[database]
    connection.run_on_commit = [hook]
    try:
        with DropIfLost(database):
            connection.run_and_clear_commit_hooks()
    except BaseException as error:  # noqa: BLE001
        return error
    return None
