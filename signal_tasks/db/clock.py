"""Time by the database's clock, and ids that sort by time.

Due times are compared where they are stored, so that a worker whose clock is
wrong neither runs a delivery too early nor holds its lease too long.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from signal_tasks.validation import MAX_SECONDS

#: SQLite has milliseconds, and compares times as texts. Django writes six digits, or none
#: where they are all zero: a time of another form would be another time.
SQLITE_NOW = (
    "REPLACE(STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'NOW'), '.000000', '')"
)


class DatabaseNow(Now):
    """``Now()``, in UTC on MySQL too, and on SQLite in the form of Django's own times.

    MySQL's sessions keep the zone of the server.
    """

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template=SQLITE_NOW, **extra)

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra)


def from_now(seconds: float) -> Combinable:
    """Return the database's time plus so many seconds, at most a hundred years."""
    if not seconds:
        return DatabaseNow()
    bounded = max(-MAX_SECONDS, min(seconds, MAX_SECONDS))
    delta = Value(timedelta(seconds=bounded), output_field=DurationField())
    return ExpressionWrapper(DatabaseNow() + delta, output_field=DateTimeField())


def uuid7() -> uuid.UUID:
    """Return a version 7 UUID (RFC 9562), later than all others of this process.

    The time in 4096ths of a millisecond, then 62 random bits. From Python 3.14 on
    ``uuid.uuid7`` does the same.
    """
    ticks = _next_tick()
    time_and_version = ticks >> 12 << 16 | 0x7 << 12 | ticks & 0xFFF
    variant_and_random = 0x2 << 62 | int.from_bytes(os.urandom(8)) >> 2
    return uuid.UUID(int=time_and_version << 64 | variant_and_random)


def id_at(moment: datetime) -> uuid.UUID:
    """Return an id that sorts before all ids made at that moment or later."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | 0x2 << 62)


def moment_of(made: uuid.UUID) -> datetime:
    """Return the moment at which an id was made; of another kind of id, any moment."""
    seconds = (made.int >> 80) / 1000
    return datetime.fromtimestamp(min(seconds, LAST_SECOND), UTC)


#: The end of the year 9998, as seconds since 1970: each time zone can hold it.
LAST_SECOND = 253370764799.0


_ticking = threading.Lock()
_last_tick = 0


def _next_tick() -> int:
    global _last_tick
    with _ticking:
        now = time.time_ns() * 4096 // 1_000_000
        _last_tick = max(now, _last_tick + 1)
        return _last_tick


def _after_fork() -> None:
    global _ticking
    _ticking = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
