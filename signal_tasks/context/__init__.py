"""The surroundings of a receiver: its delivery, and the context of the sender.

# Note [Context]
What a receiver needs around it that is not an argument (a tenant, a language) is
carried by hooks: the classes that ``SIGNAL_TASKS["CONTEXT"]`` names. ``send()`` asks
each for a value; the worker restores each value before it decodes the payload, and
runs a delivery in no other context than that.

The values are stored beside the headers: then the column holds a list of both, where
without hooks it holds the headers alone. So neither can be taken for the other. Under
names that no hook has, the causes of an event that was sent inside of a receiver are
stored with them, its correlation id, and the trace of its send. A worker that can do
nothing with a trace ignores it.
"""

from __future__ import annotations

from signal_tasks.context.carrying import (
    CAUSES,
    OWN_NAMES,
    ContextHook,
    carries_schemas,
    hooks,
    hooks_for,
    restored,
    unshared,
)
from signal_tasks.context.current import (
    MAX_CORRELATION,
    CurrentDelivery,
    Running,
    cause,
    current_delivery,
    delivering,
    delivering_batch,
    running,
    running_all,
)
from signal_tasks.context.items import BatchItem
from signal_tasks.context.stored import (
    StoredContext,
    carried_correlation,
    split_headers,
    stored_context,
    stored_correlation,
)
from signal_tasks.context.surroundings import surrounding

__all__ = [
    "CAUSES",
    "MAX_CORRELATION",
    "OWN_NAMES",
    "BatchItem",
    "ContextHook",
    "CurrentDelivery",
    "Running",
    "StoredContext",
    "carried_correlation",
    "carries_schemas",
    "cause",
    "current_delivery",
    "delivering",
    "delivering_batch",
    "hooks",
    "hooks_for",
    "restored",
    "running",
    "running_all",
    "split_headers",
    "stored_context",
    "stored_correlation",
    "surrounding",
    "unshared",
]
