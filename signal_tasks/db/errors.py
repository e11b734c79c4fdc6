"""Tell database errors apart by their codes: SQLSTATE, or the server's own number.

A class of Django's says too little: ``OperationalError`` is a lost connection, a
deadlock, a statement that took too long, or on SQLite a table that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from django.db import Error, InterfaceError


class Fault(Enum):
    """Which part of our use of the database an error has ended."""

    STATEMENT = auto()  # the statement failed; the fault is in what it said
    TRANSACTION = auto()  # the transaction is lost to a concurrent one; run it again
    CONNECTION = auto()  # the connection is gone, or its server cannot write any more


#: Class 08: connection exceptions. 57P01 to 57P05: the server ended the session, or is
#: starting. 25006: it is read-only. 25P03, 25P04: it ended an idle or long transaction.
CONNECTION_STATES = frozenset(
    {"57P01", "57P02", "57P03", "57P04", "57P05", "25006", "25P03", "25P04"}
)
#: Serialization failure and deadlock.
TRANSACTION_STATES = frozenset({"40001", "40P01"})
#: MariaDB and MySQL: cannot connect, by socket, by network, to that host; too many
#: connections; shut down, session killed, gone away, lost; read-only, twice.
CONNECTION_NUMBERS = frozenset(
    {2002, 2003, 2005, 1040, 1053, 1927, 2006, 2013, 2055, 4031, 1290, 1836}
)
#: MariaDB and MySQL: row changed since the snapshot, lock wait timeout, deadlock.
TRANSACTION_NUMBERS = frozenset({1020, 1205, 1213})
#: SQLite: busy, locked (the low byte of the extended codes).
TRANSACTION_SQLITE = frozenset({5, 6})


def fault_of(error: BaseException) -> Fault | None:
    """Return the fault of a database error; None for any other exception."""
    if not isinstance(error, Error):
        return None
    cause = error.__cause__
    if cause is None:  # raised by Django itself, which says nothing more
        is_closed = isinstance(error, InterfaceError)
        return Fault.CONNECTION if is_closed else Fault.STATEMENT
    if type(cause).__module__.startswith("psycopg"):
        return _postgresql(error, cause)
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        is_busy = code & 0xFF in TRANSACTION_SQLITE
        return Fault.TRANSACTION if is_busy else Fault.STATEMENT
    return _mysql(error, cause)


def _postgresql(error: Error, cause: BaseException) -> Fault:
    """Read psycopg's ``sqlstate``, or psycopg2's ``pgcode``."""
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state is None:  # the client's own: no server answered
        kind = type(error).__name__
        is_gone = kind in ("OperationalError", "InterfaceError")
        return Fault.CONNECTION if is_gone else Fault.STATEMENT
    if state in TRANSACTION_STATES:
        return Fault.TRANSACTION
    is_gone = state.startswith("08") or state in CONNECTION_STATES
    return Fault.CONNECTION if is_gone else Fault.STATEMENT


def _mysql(error: Error, cause: BaseException) -> Fault:
    number = cause.args[0] if cause.args else None
    if number in TRANSACTION_NUMBERS:
        return Fault.TRANSACTION
    if number in CONNECTION_NUMBERS or isinstance(error, InterfaceError):
        return Fault.CONNECTION
    return Fault.STATEMENT


def is_retryable(error: BaseException) -> bool:
    """Return True when the same work may succeed in a new transaction."""
    return fault_of(error) in (Fault.TRANSACTION, Fault.CONNECTION)


def worst_fault(errors: Iterable[BaseException]) -> Fault | None:
    """Return the worst of the faults that end more than a statement, if there is one."""
    faults = {fault_of(error) for error in errors}
    for fault in (Fault.CONNECTION, Fault.TRANSACTION):
        if fault in faults:
            return fault
    return None
