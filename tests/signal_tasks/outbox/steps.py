"""Steps of the tests of the outbox: undo a transaction, count deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
