"""Convert keyword arguments to text and back; every value keeps its type.

The codec knows values, not events. It never writes to the database, and reads it only
to fetch a model instance that a payload refers to. It does not use pickle: the types
it knows are a closed set, to which ``register_type`` adds.
"""

from __future__ import annotations

from signal_tasks.codec.custom import register_type
from signal_tasks.codec.payload import (
    Payload,
    decode,
    decode_sender,
    decode_unless_skipped,
    encode,
    extended,
)
from signal_tasks.codec.protocols import Rows
from signal_tasks.codec.snapshots import Snapshot
from signal_tasks.codec.writer import can_travel

__all__ = [
    "Payload",
    "Rows",
    "Snapshot",
    "can_travel",
    "decode",
    "decode_sender",
    "decode_unless_skipped",
    "encode",
    "extended",
    "register_type",
]
