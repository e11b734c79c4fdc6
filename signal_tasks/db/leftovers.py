"""Notice what a receiver leaves behind on the database connection of its delivery.

The deliveries that run next use the same connection. Nothing here sends a statement
unless the receiver has changed a setting of its session; see
docs/decisions/what-receivers-leave-behind.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakSet

from django.db import Error
from django.db.backends.signals import connection_created
from django.db.transaction import TransactionManagementError

from signal_tasks.db.errors import Fault, worst_fault
from signal_tasks.db.session_settings import (
    IN_TRANSACTION,
    OWN_NAME,
    own_settings,
    settings_of,
)
from signal_tasks.db.session_statements import (
    changes_session,
    end_of_transaction,
    names_of_local,
    text_of,
)
from signal_tasks.error_text import chain_of

CLOSED = (
    "the receiver closed the database connection inside its transaction; its writes "
    "are undone"
)
LEFT_OPEN = "the receiver returned inside of a transaction that it had begun itself"
SPOILT = (
    "the receiver went on after a database error without an atomic() block of its "
    "own around the statement, or called set_rollback(True); its writes are undone"
)
AUTOCOMMIT = "the receiver changed autocommit and did not change it back"
ISOLATION = (
    "the receiver changed the isolation level of the database connection and did not "
    "change it back"
)
SETTINGS = (
    "the receiver changed {} of its database session and did not change it back; "
    "SET LOCAL ends with the transaction"
)

ENDS = (
    "the receiver is atomic, and {} would end its transaction, so it was not sent; "
    "what has to be outside of a transaction needs atomic=False"
)

#: A true value of ``errors_occurred`` for errors that the watch has seen as those of a
#: statement; Django's own is True.
OF_STATEMENT = 1


class Facts(NamedTuple):
    """Facts about a connection that its driver knows without asking the server."""

    autocommit: bool
    isolation: object = None
    in_transaction: bool = False


class Watch:
    """Watch a connection while a receiver runs; ``close`` tells what it has left.

    As a wrapper of its statements it notices those that fail, and those that change
    the session. Only for these the settings are asked for, before and after.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._facts = _facts(connection)
        self._blocks = len(connection.atomic_blocks)
        self._savepoints = len(connection.savepoint_ids)
        self._settings: dict[str, str | None] | None = None
        self._own: set[str] = set()
        self._local: set[str] = set()  # which end with their transaction
        self._errors: WeakSet[BaseException] = WeakSet()
        self._had_errors = connection.errors_occurred
        self._has_errors = connection.errors_occurred = False
        connection.execute_wrappers.append(self)

    def __call__(
        self, execute: Any, sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        connection = self._connection
        had_errors = connection.errors_occurred
        try:
            if connection.connection is not None:  # else the cursor is a lost one's
                self._look_at(text_of(sql, connection.connection), params)
            return execute(sql, params, many, context)
        except Error as error:
            self._errors.add(error)
            if connection.errors_occurred and had_errors is not True:
                connection.errors_occurred = OF_STATEMENT
            raise

    def close(self) -> str:
        """Stop watching; return what is wrong with the connection, in a sentence.

        Django's view of open transactions is put right. The caller has to undo the
        transaction that is open, if one is, and to drop the connection.
        """
        connection = self._connection
        connection.execute_wrappers.remove(self)
        self._has_errors = connection.errors_occurred is True
        if self._had_errors is True or not connection.errors_occurred:
            connection.errors_occurred = self._had_errors
        if self._has_left_blocks():
            return LEFT_OPEN
        if connection.closed_in_transaction:
            return CLOSED
        facts = _facts(connection)
        if facts != self._facts and (wrong := self._wrong(facts)):
            return wrong
        return "" if self._settings is None else self._changed_settings()

    def fault_behind(self, error: BaseException) -> Fault | None:
        """Return the fault of this connection that has led to an error, if one has.

        To be called after ``close``. The error may be another one, raised because of
        it. An error of another connection says nothing about this one.
        """
        ours = [
            each for each in chain_of(error) if self._has_errors or each in self._errors
        ]
        return worst_fault(ours)

    def begin_anew(self) -> None:
        """Forget the settings of a session that is over; Django has set up a new one."""
        self._settings = None
        self._own = set()

    def _has_left_blocks(self) -> bool:
        connection = self._connection
        left = len(connection.atomic_blocks) != self._blocks
        if left:
            del connection.atomic_blocks[self._blocks :]
            del connection.savepoint_ids[self._savepoints :]
            connection.in_atomic_block = bool(self._blocks)
        return left

    def _wrong(self, now: Facts | None) -> str:
        """Return what differs; the connection may be new, or none may be open."""
        if now is None:
            return ""
        inside = self._connection.in_atomic_block
        if now.autocommit == inside:
            return AUTOCOMMIT
        if now.in_transaction and not inside:
            return LEFT_OPEN
        before = self._facts
        changed = before is not None and before.isolation != now.isolation
        return ISOLATION if changed else ""

    def _look_at(self, text: str, params: Any) -> None:
        """Refuse a statement that ends our transaction; note what one changes.

        A block of a receiver that is not atomic is its own.
        """
        vendor = self._connection.vendor
        if self._blocks and (end := end_of_transaction(text, vendor)):
            raise TransactionManagementError(ENDS.format(end))
        if vendor == "postgresql":
            self._local |= names_of_local(text)
        if changes_session(text, vendor):
            with self._driver_cursor() as cursor:
                self._look_before(cursor, f"{text} {params}")

    def _look_before(self, cursor: Any, statement: str) -> None:
        """Note the settings before the first statement that changes one."""
        vendor = self._connection.vendor
        if self._settings is None:
            self._settings = settings_of(cursor, vendor)
        names = set(OWN_NAME.findall(statement)) - self._own
        if names and vendor == "postgresql":
            self._settings |= own_settings(cursor, names)
            self._own |= names

    @contextmanager
    def _driver_cursor(self) -> Iterator[Any]:
        """Open the driver's cursor: Django's may be the caller, or refuse."""
        connection = self._connection
        with connection.wrap_database_errors, connection.connection.cursor() as cursor:
            yield cursor

    def _cursor_after(self) -> Any:
        """Open a cursor that asks even if Django wants a rollback first.

        PostgreSQL undoes settings by the rollback, so that nothing is to be asked.
        """
        connection = self._connection
        is_open = connection.connection is not None
        if is_open and connection.vendor != "postgresql":
            return self._driver_cursor()
        return connection.cursor()

    def _changed_settings(self) -> str:
        before = self._settings or {}
        try:
            with self._cursor_after() as cursor:
                now = settings_of(cursor, self._connection.vendor)
                now |= own_settings(cursor, self._own) if self._own else {}
        except Error:  # the transaction, or the connection, is lost in any case
            return ""
        is_open = now.pop(IN_TRANSACTION, None) == "1"  # as it may have been before
        if is_open and not self._connection.in_atomic_block:
            return LEFT_OPEN
        # After RESET a custom setting of PostgreSQL remains as an empty string. Names
        # that are new came with a library that the server has loaded meanwhile.
        changed = [
            name
            for name in before.keys() & now.keys()
            if (before[name] or "") != (now[name] or "")
            and name.lower() not in self._local
        ]
        return SETTINGS.format(", ".join(sorted(changed))) if changed else ""


def _begin_anew(connection: Any, **_: object) -> None:
    for each in connection.execute_wrappers:
        if isinstance(each, Watch):
            each.begin_anew()


connection_created.connect(_begin_anew, dispatch_uid="signal_tasks.leftovers")


def _facts(connection: Any) -> Facts | None:
    driver = connection.connection
    if driver is None:
        return None
    reader = READERS.get(connection.vendor)
    return reader(connection, driver) if reader else Facts(connection.autocommit)


def _postgresql(connection: Any, driver: Any) -> Facts:
    """Read psycopg's attributes, or psycopg2's."""
    try:
        status = driver.pgconn.transaction_status
        isolation = driver.isolation_level, driver.read_only
    except AttributeError:
        status, isolation = driver.info.transaction_status, driver.isolation_level
    autocommit = connection.autocommit and driver.autocommit
    return Facts(autocommit, isolation, status not in NO_TRANSACTION)


#: Transaction states of libpq: idle; the connection is lost.
NO_TRANSACTION = (0, 4)


def _mysql(connection: Any, driver: Any) -> Facts:
    """Read the flags that the server has sent with its last answer."""
    flags = getattr(driver, "server_status", 0)
    autocommit = connection.autocommit and bool(driver.get_autocommit())
    return Facts(autocommit, None, bool(flags & SERVER_IN_TRANSACTION))


SERVER_IN_TRANSACTION = 1


def _sqlite(connection: Any, driver: Any) -> Facts:
    autocommit = connection.autocommit and driver.isolation_level is None
    return Facts(autocommit, None, driver.in_transaction)


READERS = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}
