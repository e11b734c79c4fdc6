"""The verbs of operators: replay, discard, backfill, pause, limit, log, describe.

The admin, the command and the dashboard call these, and nothing else changes
deliveries for an operator. An operation on many deliveries is rows, which relays work
off: a call returns before anything is changed.
"""

from __future__ import annotations

from signal_tasks.exceptions import NotInForce
from signal_tasks.operations.breaker import BreakerState, breakers
from signal_tasks.operations.creation import backfill, discard, replay
from signal_tasks.operations.failures import last_failures
from signal_tasks.operations.groups import FailureGroup, annotate, failure_groups
from signal_tasks.operations.handle import Operation, find, recent
from signal_tasks.operations.inspection import describe, describe_signals
from signal_tasks.operations.limiting import clear, limit
from signal_tasks.operations.looks import acknowledge
from signal_tasks.operations.ordering import skip
from signal_tasks.operations.pausing import pause, resume
from signal_tasks.operations.steering import ControlInForce, controls
from signal_tasks.operations.trail import log
from signal_tasks.selection import Selection
from signal_tasks.steering.keys import BlockedKey, blocked_keys

__all__ = [
    "BlockedKey",
    "BreakerState",
    "ControlInForce",
    "FailureGroup",
    "NotInForce",
    "Operation",
    "Selection",
    "acknowledge",
    "annotate",
    "backfill",
    "blocked_keys",
    "breakers",
    "clear",
    "controls",
    "describe",
    "describe_signals",
    "discard",
    "failure_groups",
    "find",
    "last_failures",
    "limit",
    "log",
    "pause",
    "recent",
    "replay",
    "resume",
    "skip",
]
