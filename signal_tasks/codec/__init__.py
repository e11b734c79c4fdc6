"""Keyword arguments to text and back, every value with the type it left with.

The codec knows values, not events: it never writes, and it reads the database only
to fetch a model instance that a payload refers to. No pickle: a closed set of types,
and those that ``register_type`` adds.
"""

from __future__ import annotations

from signal_tasks.codec.custom import register_type
from signal_tasks.codec.instances import Snapshot
from signal_tasks.codec.payload import Payload, decode, encode

__all__ = ["Payload", "Snapshot", "decode", "encode", "register_type"]
