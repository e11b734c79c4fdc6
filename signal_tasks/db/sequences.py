"""Give new deliveries their positions in the sequences of their receivers and keys.

In the transaction of the send. It keeps the lock of each sequence until it commits, so
that a concurrent sender of the same key gets its position after that commit, and no
position of a transaction that was rolled back remains.

Locks are taken in the order of receiver and key, so that senders of many keys wait for
each other in one direction only.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from django.db import connections

from signal_tasks.db.sql import array, array_of_ids, stored_id

#: Turns that one statement gives.
BATCH = 1000
#: The same where a statement has few parameters.
SMALL_BATCH = 200

TURN = "INSERT INTO signal_tasks_turn (delivery_id, sequence_id, position) "
#: One turn on PostgreSQL, and many.
ONE = f"""
WITH taken AS (
    INSERT INTO signal_tasks_sequence AS sequence (receiver, key, last)
    VALUES (%s, %s, 1)
    ON CONFLICT (receiver, key) DO UPDATE SET last = sequence.last + 1
    RETURNING id, last
) {TURN} SELECT %s::uuid, id, last FROM taken
"""
MANY = f"""
WITH given AS MATERIALIZED (
    SELECT delivery_id, receiver, key,
        ROW_NUMBER() OVER (PARTITION BY receiver, key ORDER BY place) AS nth,
        COUNT(*) OVER (PARTITION BY receiver, key) AS total
    FROM unnest(%s::uuid[], %s::text[], %s::text[]) WITH ORDINALITY
        AS given(delivery_id, receiver, key, place)
), taken AS (
    INSERT INTO signal_tasks_sequence AS sequence (receiver, key, last)
    SELECT receiver, key, COUNT(*) FROM given GROUP BY receiver, key
    ORDER BY receiver COLLATE "C", key COLLATE "C"
    ON CONFLICT (receiver, key) DO UPDATE SET last = sequence.last + EXCLUDED.last
    RETURNING id, receiver, key, last
) {TURN} SELECT delivery_id, id, last - total + nth
FROM given JOIN taken USING (receiver, key)
"""


class NewTurn(NamedTuple):
    """A new delivery, and the receiver and key whose sequence it joins."""

    delivery_id: uuid.UUID
    receiver: str
    key: str


#: A receiver and a key.
Pair = tuple[str, str]


class _Counter(NamedTuple):
    """The row of a sequence: its id, and the last position that was given."""

    id: int
    last: int


def join(turns: Sequence[NewTurn], *, database: str) -> None:
    """Give each delivery the next position of its sequence, in the given order.

    In the transaction that is open. On PostgreSQL one statement for each thousand.
    """
    if not turns:
        return
    ordered = sorted(turns, key=lambda turn: (turn.receiver, turn.key))
    vendor = connections[database].vendor
    size = BATCH if vendor == "postgresql" else SMALL_BATCH
    take = {"postgresql": _on_postgresql, "mysql": _on_mysql}.get(vendor, _on_sqlite)
    with connections[database].cursor() as cursor:
        for start in range(0, len(ordered), size):
            take(ordered[start : start + size], cursor)


def _on_postgresql(turns: Sequence[NewTurn], cursor: Any) -> None:
    if len(turns) == 1:
        ((pk, receiver, key),) = turns
        cursor.execute(ONE, [receiver, key, str(pk)])
        return
    ids = array_of_ids(str(turn.delivery_id) for turn in turns)
    receivers = array(turn.receiver for turn in turns)
    cursor.execute(MANY, [ids, receivers, array(turn.key for turn in turns)])


def _on_sqlite(turns: Sequence[NewTurn], cursor: Any) -> None:
    """Count on, then read the counters: no other writer comes in between."""
    grouped = _by_pair(turns)
    given = [(*pair, len(some)) for pair, some in grouped.items()]
    cursor.execute(
        "INSERT INTO signal_tasks_sequence (receiver, key, last) VALUES "
        f"{', '.join(['(%s, %s, %s)'] * len(given))} "
        "ON CONFLICT (receiver, key) DO UPDATE SET last = last + excluded.last",
        [value for row in given for value in row],
    )
    counters = _read(list(grouped), cursor, "key")
    before = {
        pair: _Counter(row.id, row.last - len(grouped[pair]))
        for pair, row in counters.items()
    }
    _insert(grouped, before, cursor)


def _on_mysql(turns: Sequence[NewTurn], cursor: Any) -> None:
    """Lock the counters that exist, add the others, then count on.

    ``ON DUPLICATE KEY UPDATE`` would also lock the gap before each counter, in which
    other senders have new keys. Counters are locked by their ids, as relays do that
    delete those which are not used.
    """
    grouped = _by_pair(
        turn._replace(key=_told_apart(turn.receiver, turn.key)) for turn in turns
    )
    seen = _read(list(grouped), cursor, "`key`")
    counters = _locked([counter.id for counter in seen.values()], cursor)
    missing = [pair for pair in grouped if pair not in counters]
    if missing:
        cursor.execute(
            "INSERT INTO signal_tasks_sequence (receiver, `key`, last) VALUES "
            f"{', '.join(['(%s, %s, 0)'] * len(missing))} "
            "ON DUPLICATE KEY UPDATE last = last",
            [value for pair in missing for value in pair],
        )
        counters |= _read(missing, cursor, "`key`", lock=True)
    by_number: dict[int, list[int]] = {}
    for pair, some in grouped.items():
        by_number.setdefault(len(some), []).append(counters[pair].id)
    for number, ids in by_number.items():
        cursor.execute(
            "UPDATE signal_tasks_sequence SET last = last + %s "
            f"WHERE id IN ({', '.join(['%s'] * len(ids))})",
            [number, *ids],
        )
    _insert(grouped, counters, cursor)


def _told_apart(receiver: str, key: str) -> str:
    """Return a key that no other one equals, whatever the collation says.

    Most collations of MySQL take "a" for "A", or "e" for an e with an accent.
    """
    both = f"{receiver}\0{key}"
    if both.isascii() and both == both.lower():
        return key
    digest = hashlib.sha256(both.encode()).hexdigest()
    return f"{key[:200]}#{digest[:16]}"


def _locked(ids: Sequence[int], cursor: Any) -> dict[Pair, _Counter]:
    """Lock counters in the order of their ids; return those that still exist."""
    if not ids:
        return {}
    cursor.execute(
        "SELECT receiver, `key`, id, last FROM signal_tasks_sequence "
        f"WHERE id IN ({', '.join(['%s'] * len(ids))}) ORDER BY id FOR UPDATE",
        sorted(ids),
    )
    return _counters(cursor)


def _read(
    pairs: Sequence[Pair], cursor: Any, key: str, *, lock: bool = False
) -> dict[Pair, _Counter]:
    """Return the counters of these pairs that exist."""
    conditions, params = [], []
    for receiver, some in groupby(sorted(pairs), key=lambda pair: pair[0]):
        keys = [pair[1] for pair in some]
        conditions.append(
            f"(receiver = %s AND {key} IN ({', '.join(['%s'] * len(keys))}))"
        )
        params += [receiver, *keys]
    index = "FORCE INDEX (signal_tasks_one_sequence)" if lock else ""
    cursor.execute(
        f"SELECT receiver, {key}, id, last FROM signal_tasks_sequence {index} "
        f"WHERE {' OR '.join(conditions)} {'FOR UPDATE' if lock else ''}",
        params,
    )
    return _counters(cursor)


def _counters(cursor: Any) -> dict[Pair, _Counter]:
    return {(row[0], row[1]): _Counter(*row[2:]) for row in cursor.fetchall()}


def _by_pair(turns: Iterable[NewTurn]) -> dict[Pair, list[uuid.UUID]]:
    grouped: dict[Pair, list[uuid.UUID]] = {}
    for pk, receiver, key in turns:
        grouped.setdefault((receiver, key), []).append(pk)
    return grouped


def _insert(
    grouped: dict[Pair, list[uuid.UUID]], before: dict[Pair, _Counter], cursor: Any
) -> None:
    """Insert the turns of each sequence behind the last one before them."""
    native = cursor.db.features.has_native_uuid_field
    params = [
        value
        for pair, ids in grouped.items()
        for nth, pk in enumerate(ids, 1)
        for value in (
            stored_id(pk, native=native),
            before[pair].id,
            before[pair].last + nth,
        )
    ]
    rows = ", ".join(["(%s, %s, %s)"] * (len(params) // 3))
    cursor.execute(f"{TURN} VALUES {rows}", params)
