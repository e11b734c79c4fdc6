"""Time by the database's clock, and ids that sort by time.

Due times are compared where they are stored, so that a worker whose clock is
wrong neither runs a delivery too early nor holds one too long.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

#: A hundred years: what is due later is due never, and overflows (seconds).
LONGEST = 100 * 366 * 24 * 3600.0


class DatabaseNow(Now):
    """``Now()``, in UTC on MySQL too, whose sessions keep the server's zone."""

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra)


def from_now(seconds: float) -> Combinable:
    """The database's time, this many seconds from now, at most a hundred years."""
    if not seconds:
        return DatabaseNow()
    bounded = max(-LONGEST, min(seconds, LONGEST))
    delta = Value(timedelta(seconds=bounded), output_field=DurationField())
    return ExpressionWrapper(DatabaseNow() + delta, output_field=DateTimeField())


def uuid7() -> uuid.UUID:
    """A version 7 UUID (RFC 9562): the time in milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | random_bits
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)
