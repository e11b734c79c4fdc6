"""Operations on many deliveries: select, replay, discard, backfill, log, describe.

The admin, the command and the dashboard call these, and nothing else changes
deliveries for an operator. An operation is rows, which relays work off: a call returns
before anything is changed.
"""

from __future__ import annotations

from signal_tasks.operations.creation import backfill, discard, replay
from signal_tasks.operations.handle import Operation, find, recent
from signal_tasks.operations.inspection import describe, describe_signals
from signal_tasks.operations.trail import log
from signal_tasks.selection import Selection

__all__ = [
    "Operation",
    "Selection",
    "backfill",
    "describe",
    "describe_signals",
    "discard",
    "find",
    "log",
    "recent",
    "replay",
]
