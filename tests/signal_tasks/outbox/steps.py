"""Steps of the tests of the outbox: undo a transaction, count deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import transaction

from signal_tasks.models import Delivery


class Undo(Exception):
    """Ends a transaction without committing it."""


def deliveries(database: str = "default") -> int:
    return len(Delivery.objects.using(database))


@contextmanager
def undone(using: str = "default") -> Iterator[None]:
    """Open a transaction, and roll it back in the end."""
    with suppress(Undo), transaction.atomic(using=using):
        yield
        raise Undo


class OneAliasRouter:
    """Names one database for everything, wherever a row is."""

    def db_for_read(self, model: type, **hints: Any) -> str:
        return "default"

    db_for_write = db_for_read
