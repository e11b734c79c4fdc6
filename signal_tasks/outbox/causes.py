"""The chain of causes of an event that is sent inside a receiver, and its bound.

# Note [Loops]
An event that is sent inside a receiver carries the chain of its causes: the signal,
the object and the receiver of each, the first one first. It is stored beside the
context of the sender, and only where there is a cause. A replay or a backfill sends
nothing, so the chain stays as it is.

No chain is longer than MAX_DEPTH. A receiver of a foreign signal, such as
``post_save``, that causes the same signal for the same object is caught at once: it
would be called again and again. What it caused is asked after ``when=``, which may
well end it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from signal_tasks import context
from signal_tasks.conf import settings
from signal_tasks.exceptions import SignalLoop, Step
from signal_tasks.outbox import subjects

WAYS_OUT = (
    "Write with queryset.update(), which sends no signal; or connect the receiver with "
    "when=, so that it does not hear of what it writes itself: of that value of "
    "update_fields=, or of an object that needs no more work; or exclude from what is "
    "sent what it need not hear of, with sender=."
)
OR_DEEPER = (
    "If they go round, let one of them send only when there is something to do; if not, "
    "raise MAX_DEPTH."
)
#: Causes that are told first of a chain that does not seem to go round.
MAX_STEPS = 3


def causes() -> Sequence[Step]:
    """Return the chain of causes of an event that is sent now, the first one first.

    Empty outside of receivers.
    """
    current = context.running()
    return () if current is None else _chain(current)


def _chain(current: context.Running) -> Sequence[Step]:
    """Return the causes of a delivery, and the one that it would be itself."""
    payload = current.payload
    subject = ""
    if payload is not None:
        subject = subjects.default(payload.sender, payload.kwargs, payload.sensitive)
    before = [Step(*step) for step in current.causes]
    return (*before, Step(current.signal, current.receiver, subject))


def check_depth(signal: str) -> None:
    """Refuse an event whose chain of causes is too long: Note [Loops].

    Raises:
        SignalLoop: it has more than MAX_DEPTH causes.
    """
    current = context.running()
    most = settings().MAX_DEPTH
    if current is not None and len(current.causes) >= most:
        why = (
            f"{signal} is sent by a receiver {most} causes deep, and "
            "SIGNAL_TASKS['MAX_DEPTH'] allows no more."
        )
        chain = causes()
        raise SignalLoop(signal, chain, why, OR_DEEPER, _last_round(signal, chain))


def _last_round(signal: str, chain: Sequence[Step]) -> int:
    """Return where the end of a chain begins that may go round: at the same signal."""
    same = [place for place, step in enumerate(chain) if step.signal == signal]
    return same[-1] if same else max(0, len(chain) - MAX_STEPS)


def check_repetition(signal: str, subject: str, receivers: Sequence[str]) -> None:
    """Refuse a foreign signal that one of its receivers has caused: Note [Loops].

    Raises:
        SignalLoop: a receiver would be called for the same object once more.
    """
    if not subject:
        return
    for chain, name in product(map(_chain, context.running_all()), receivers):
        if Step(signal, name, subject) in chain:
            why = (
                f"{name} would be called for the same object once more, because of "
                f"what it did when {signal} called it for that."
            )
            first = chain.index(Step(signal, name, subject))
            raise SignalLoop(signal, chain, why, WAYS_OUT, first)
