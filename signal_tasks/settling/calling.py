"""Pass an event on to the receivers of ``settled``: the boundary to a project's code."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from signal_tasks.db.errors import Fault
from signal_tasks.db.leftovers import SPOILT, Watch
from signal_tasks.registry.settled import Settled, SettledEvent


class TransactionLost(Exception):
    """Raised when code called for one event has lost the transaction of all its events.

    ``error`` tells how. The connection is of no use any more if it ``is_spoilt``.
    """

    def __init__(
        self, event: SettledEvent, error: BaseException, *, is_spoilt: bool
    ) -> None:
        super().__init__(event.id)
        self.event = event
        self.error = error
        self.is_spoilt = is_spoilt


def call(settled: Settled, event: SettledEvent) -> Mapping[str, BaseException]:
    """Pass an event on in the savepoint that is open; return what ``pass_on`` does.

    Raises whatever that raises, ``sys.exit()`` too; ``TransactionLost`` if that is, or
    comes of, a fault of our own connection. One of another database says nothing
    about the other events.
    """
    watch = Watch(transaction.get_connection(event.database))
    error: BaseException | None = None
    errors: Mapping[str, BaseException] = {}
    try:
        errors = settled.pass_on(event)
    except BaseException as raised:  # noqa: BLE001 - raised again below
        error = raised
    if left := watch.close():
        error = error or transaction.TransactionManagementError(left)
        raise TransactionLost(event, error, is_spoilt=True) from error
    if error is not None:
        if fault := watch.fault_behind(error):
            is_spoilt = fault is Fault.CONNECTION
            raise TransactionLost(event, error, is_spoilt=is_spoilt) from error
        raise error
    if transaction.get_rollback(using=event.database):
        raise transaction.TransactionManagementError(SPOILT)
    return errors
