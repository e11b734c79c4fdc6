"""Run what receivers have left to ``transaction.on_commit``, each for itself.

# Note [Hooks]
Django runs the hooks of a transaction inside of the call that commits it, and stops at
the first that fails. The error of a hook would look like that of a commit, and the
hooks of the other deliveries would be lost. So they are taken from the transaction
before the commit and run after it, when the outcomes are written. A delivery whose
hook fails has succeeded: the hook is not run again, and its error is told. So it is
with an inline receiver of ``settled``, whose event has settled then. A hook that leaves
something behind on the connection has failed, too, and the connection is dropped: the
next deliveries would run under its settings, or in a transaction that nobody commits.
Each runs in the surroundings of its receiver: Note [Surroundings] in ``context``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from django.db import connections, transaction

from signal_tasks import signals
from signal_tasks.db.leftovers import Watch
from signal_tasks.db.session import DropIfLost, drop
from signal_tasks.interrupt import is_stop
from signal_tasks.models import Delivery


class Hook(NamedTuple):
    """A hook as Django keeps it, and the name of the receiver that has left it."""

    receiver: str
    entry: Any


def take(receiver: str, database: str) -> Sequence[Hook]:
    """Take the hooks from the transaction that is about to be committed.

    Those of a transaction around ours, as that of a ``TestCase``, are left to it.
    """
    connection: Any = connections[database]
    if not connection.run_on_commit or connection.savepoint_ids:
        return ()
    entries, connection.run_on_commit = connection.run_on_commit, []
    return [Hook(receiver, entry) for entry in entries]


def run(hooks: Sequence[Hook], database: str) -> list[BaseException]:
    """Run the hooks of a transaction that is committed; return and tell their errors.

    Raises what ends the process from outside, after the last hook.
    """
    failed = [
        (hook.receiver, error)
        for hook in hooks
        if (error := _error_of(hook, database)) is not None
    ]
    for receiver, error in failed:
        details = signals.CommitHookFailed(
            receiver=receiver, database=database, error=error
        )
        signals.commit_hook_failed.send_robust(Delivery, details=details)
    for _, error in failed:
        if is_stop(error):
            raise error
    return [error for _, error in failed]


def _error_of(hook: Hook, database: str) -> BaseException | None:
    """Have Django run a hook; return what it raises, or tells what it has left behind.

    Each is a project's own code, as a receiver is, and may end no worker.
    """
    connection: Any = connections[database]
    _open(connection)
    connection.run_on_commit = [hook.entry]
    watch = Watch(connection)
    error: BaseException | None = None
    try:
        with DropIfLost(database):
            connection.run_and_clear_commit_hooks()
    except BaseException as raised:  # noqa: BLE001
        error = raised
    if left := watch.close():
        drop(database)
        sentence = left.replace("the receiver", "the hook", 1)
        return error or transaction.TransactionManagementError(sentence)
    return error


def _open(connection: Any) -> None:
    """Connect if need be, so that what comes with it is no act of the hook.

    An error is met by a hook that uses the database; the others do not need it.
    """
    if connection.connection is None:
        with suppress(Exception):
            connection.ensure_connection()
