"""Keep the transaction of an event usable while inline receivers run."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, transaction

from signal_tasks.outbox.handles import Responses


class InlineSavepoint:
    """A savepoint around inline receivers: if one breaks it, the event survives.

    Put the receivers' responses into ``responses``. A database error among them, or
    one that a receiver hid, undoes what the inline receivers wrote. Does nothing
    without a database, or outside of a transaction.
    """

    def __init__(self, database: str | None) -> None:
        self._database = database
        self._atomic: transaction.Atomic | None = None
        self.responses: Responses = []

    def __enter__(self) -> Self:
        if self._database and connections[self._database].in_atomic_block:
            self._atomic = transaction.atomic(using=self._database)
            self._atomic.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        if self._atomic is None:
            return
        if any(isinstance(answer, DatabaseError) for _, answer in self.responses):
            transaction.set_rollback(True, using=self._database)
        # A receiver may hide an error that its savepoint cannot survive; Django then
        # rolls back to before it and raises, and the transaction is usable again.
        with suppress(DatabaseError):
            self._atomic.__exit__(*raised)

    async def __aenter__(self) -> Self:
        return await sync_to_async(self.__enter__)() if self._database else self

    async def __aexit__(self, *raised: Any) -> None:
        if self._atomic is not None:
            await sync_to_async(self.__exit__)(*raised)
