"""Merge a send into a delivery that waits: one row for each receiver and key.

# Note [Merging]
The row of a receiver and key names the delivery into which sends are merged. Senders
of one key wait for each other's transactions at that row, and for nothing else.

A delivery takes further sends while it is pending, was never claimed, and its row is
not due yet. That is a guard of the UPDATE. A delivery that someone else has locked is
about to be claimed, published or discarded: senders neither wait for it nor change it.
Nor do they change one whose ``due_by`` has passed, so a storm cannot put it off. In
all these cases the send starts a new delivery, to which the row points from then on.

# Note [Versions]
Each merge leaves an old version of the delivery behind, which PostgreSQL cannot clean up
before the transaction ends: by its id it is found among all of them. So a transaction
that sends thousands of times remembers where the newest version is. What it remembers
may be wrong, after a rollback say: then nothing is found there.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any, NamedTuple

from django.db import connections

from signal_tasks.db.sql import from_now_sql, lock_clause, stored_id
from signal_tasks.db.waiting import locks_no_gap, one_waits

FIND = (
    "SELECT delivery_id, due_by > {now} FROM signal_tasks_coalesced "
    "WHERE receiver = %s AND {key} = %s"
)
CREATE = (
    "INSERT INTO signal_tasks_coalesced (receiver, {key}, delivery_id, due_by) "
    "VALUES (%s, %s, %s, {due_by}) "
)
RENEW = (
    "UPDATE signal_tasks_coalesced SET delivery_id = %s, due_by = {due_by} "
    "WHERE receiver = %s AND {key} = %s"
)
OPEN = "state = 'pending' AND run = 1 AND attempts = 0 AND lease = 0"
LOCK = "SELECT event_id, {place} FROM signal_tasks_delivery WHERE {at} AND {open}"
#: A delivery that is held keeps the time of its next check.
MERGE = (
    "UPDATE signal_tasks_delivery SET event_id = %s, available_at = {due}, "
    "next_check_at = CASE WHEN {held} THEN next_check_at ELSE {due} END, "
    "publish_count = CASE WHEN {held} THEN publish_count ELSE 0 END, "
    "merged = merged + %s WHERE {at} AND {open}{returning}"
)
#: Where a version of a row is, on PostgreSQL; nothing elsewhere.
PLACE, NO_PLACE = "ctid::text", "NULL"
BY_ID, BY_PLACE = "id = %s", "ctid = %s::tid AND id = %s"
#: Deliveries of which a thread remembers the place.
MAX_REMEMBERED = 100
HELD = (
    "EXISTS (SELECT 1 FROM signal_tasks_helddelivery AS held "
    "WHERE held.delivery_id = signal_tasks_delivery.id)"
)
DUE = (
    "{least}((SELECT due_by FROM signal_tasks_coalesced AS row_of_key "
    "WHERE row_of_key.receiver = %s AND row_of_key.{key} = %s), {later})"
)
START = (
    "INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, run, "
    "attempts, lease, available_at, next_check_at, publish_count, isolated, orphaned, "
    "merged) VALUES (%s, %s, %s, 'pending', '', 1, 0, 0, {due}, {due}, 0, FALSE, "
    "FALSE, %s)"
)
#: What follows CREATE when the row is there.
KEEP = {
    "postgresql": "ON CONFLICT DO NOTHING",
    "sqlite": "ON CONFLICT DO NOTHING",
    "mysql": "ON DUPLICATE KEY UPDATE delivery_id = delivery_id",
}


class Send(NamedTuple):
    """A send to a receiver that coalesces; of several at once, the newest.

    ``delivery_id`` is for a new delivery, ``sends`` their number. Times are in
    seconds.
    """

    receiver: str
    key: str
    event_id: uuid.UUID
    delivery_id: uuid.UUID
    within: float
    max_wait: float
    sends: int


class Merged(NamedTuple):
    """The delivery of a send, and the event that was its event before, if any."""

    delivery_id: uuid.UUID
    left: uuid.UUID | None


def merge(send: Send, *, database: str) -> Merged:
    """Merge a send into the delivery that waits, or start one: Note [Merging].

    In the transaction that is open. The event is inserted by the caller.
    """
    row = _Row(send, database)
    delivery_id, is_open = row.lock()
    is_new = delivery_id == send.delivery_id
    if is_open and not is_new:
        left = row.event_of(delivery_id)
        if left is not None and row.merge(delivery_id):
            return Merged(delivery_id, left)
    row.start(is_new=is_new)
    return Merged(send.delivery_id, None)


class _Remembered(threading.local):
    """Where the deliveries are that this thread has merged into: Note [Versions]."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, uuid.UUID], str] = {}

    def note(self, database: str, delivery_id: uuid.UUID, place: str) -> None:
        """Remember the place of a delivery; forget all others if they are many."""
        if len(self.places) >= MAX_REMEMBERED:
            self.places.clear()
        self.places[database, delivery_id] = place


_remembered = _Remembered()


class _Row:
    """The row of a receiver and key, and the statements of one send."""

    def __init__(self, send: Send, database: str) -> None:
        self.send = send
        self.database = database
        self.connection: Any = connections[database]

    def lock(self) -> tuple[uuid.UUID, bool]:
        """Lock the row, or make it; return its delivery, and whether that is open.

        It is gone again if a relay prunes it meanwhile.
        """
        while True:
            if self._exists() and (found := self._find(lock=True)):
                return found
            with one_waits(self.connection, self.send.receiver, self.send.key):
                if not (locks_no_gap(self.connection) and self._find(lock=True)):
                    self._create()
            if found := self._find(lock=True):
                return found

    def _exists(self) -> bool:
        """Return False only on MariaDB, where to lock no row would lock the gap."""
        return self.connection.vendor != "mysql" or self._find(lock=False) is not None

    def _find(self, *, lock: bool) -> tuple[uuid.UUID, bool] | None:
        now, _ = self._from_now(0.0)
        sql = FIND.format(now=now, key=self._key)
        if lock and self.connection.features.has_select_for_update:
            sql += " FOR UPDATE"
        row = self._execute(sql, self.send.receiver, self.send.key).fetchone()
        return (uuid.UUID(str(row[0])), bool(row[1])) if row else None

    def _create(self) -> None:
        due_by, params = self._from_now(self.send.max_wait)
        sql = CREATE.format(key=self._key, due_by=due_by) + KEEP[self.connection.vendor]
        names = (self.send.receiver, self.send.key)
        self._execute(sql, *names, self._id(self.send.delivery_id), *params)

    def event_of(self, delivery_id: uuid.UUID) -> uuid.UUID | None:
        """Lock the delivery, if it takes sends; return the event that it has now."""
        place = _remembered.places.get((self.database, delivery_id))
        row = self._lock(delivery_id, place) if place else None
        row = row or self._lock(delivery_id, None)
        if row is None:
            return None
        if row[1] is not None:
            _remembered.note(self.database, delivery_id, row[1])
        return uuid.UUID(str(row[0]))

    def _lock(self, delivery_id: uuid.UUID, place: str | None) -> Any:
        known = PLACE if self.connection.vendor == "postgresql" else NO_PLACE
        at, params = self._at(delivery_id, place)
        sql = LOCK.format(place=known, at=at, open=OPEN)
        sql += lock_clause(self.database, waits=False)
        return self._execute(sql, *params).fetchone()

    def _at(
        self, delivery_id: uuid.UUID, place: str | None
    ) -> tuple[str, tuple[str, ...]]:
        pk = self._id(delivery_id)
        return (BY_PLACE, (place, pk)) if place else (BY_ID, (pk,))

    def merge(self, delivery_id: uuid.UUID) -> bool:
        """Give the delivery the new event, and put it off; return True if it did."""
        later, params = self._from_now(self.send.within)
        least = "MIN" if self.connection.vendor == "sqlite" else "LEAST"
        due = DUE.format(least=least, key=self._key, later=later)
        due_params = (self.send.receiver, self.send.key, *params)
        place = _remembered.places.get((self.database, delivery_id))
        at, at_params = self._at(delivery_id, place)
        returning = f" RETURNING {PLACE}" if place else ""
        changed = self._execute(
            MERGE.format(due=due, held=HELD, open=OPEN, at=at, returning=returning),
            self._id(self.send.event_id),
            *due_params,
            *due_params,
            self.send.sends,
            *at_params,
        )
        if not changed.rowcount:
            return False
        if place:
            _remembered.note(self.database, delivery_id, changed.fetchone()[0])
        return True

    def start(self, *, is_new: bool) -> None:
        """Insert a new delivery, to which the row points from now on."""
        send = self.send
        pk = self._id(send.delivery_id)
        due, params = self._from_now(min(send.within, send.max_wait))
        start = START.format(due=due)
        ids = (pk, self._id(send.event_id), send.receiver)
        self._execute(start, *ids, *params, *params, send.sends - 1)
        if not is_new:
            due_by, params = self._from_now(send.max_wait)
            renew = RENEW.format(key=self._key, due_by=due_by)
            self._execute(renew, pk, *params, send.receiver, send.key)

    @property
    def _key(self) -> str:
        return str(self.connection.ops.quote_name("key"))

    def _from_now(self, seconds: float) -> tuple[str, tuple[Any, ...]]:
        return from_now_sql(seconds, self.database)

    def _id(self, value: uuid.UUID) -> str:
        native = self.connection.features.has_native_uuid_field
        return stored_id(value, native=native)

    def _execute(self, sql: str, *params: object) -> Any:
        cursor = self.connection.cursor()
        cursor.execute(sql, params)
        return cursor
