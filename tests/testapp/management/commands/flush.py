"""Django's ``flush``, which empties the tables after a test, with a second try.

PostgreSQL ends one of two transactions that wait for each other, and a live worker may
be in the other one. A failed flush would fail the test, and leave Django's guards on
the other databases behind for every later test.
"""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.commands import flush
from django.db import DatabaseError, connections


class Command(flush.Command):
    """Empty the tables, and try it once more where the first try failed."""

    def handle(self, **options: Any) -> None:
        try:
            super().handle(**options)
        except (CommandError, DatabaseError):
            connections[options["database"]].close()
            super().handle(**options)
