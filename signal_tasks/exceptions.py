"""The errors and outcomes that callers and receivers of signal_tasks act on.

One base class; one class for each thing a caller can do something about.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, NamedTuple


class SignalTasksError(Exception):
    """Anything that signal_tasks itself raises."""


class PayloadError(SignalTasksError, TypeError):
    """A value given to ``send()`` cannot travel; nothing has been written.

    Attributes:
        signal: name of the signal.
        path: leads to the value: ``order.lines[2].photo``.
        problem: what is wrong, and how to avoid it.
        argument: the keyword of the signal that holds the value, or "sender"; empty
            if the error is not about a single argument.
        hint: more advice, which a caller may set before it raises the error again.
    """

    def __init__(
        self, signal: str, path: str, problem: str, *, argument: str = ""
    ) -> None:
        super().__init__(signal, path, problem)
        self.signal = signal
        self.path = path
        self.problem = problem
        self.argument = argument
        self.hint = ""

    def __str__(self) -> str:
        text = f"{self.signal}: {self.path}: {self.problem}"
        return f"{text}; {self.hint}" if self.hint else text


class DuplicateEvent(SignalTasksError):
    """The signal was sent under this key already; nothing has been written.

    Only ``using(on_duplicate="raise")`` raises it. The caller's transaction is usable.

    Attributes:
        event_id: of the first event.
        signal: name of the signal.
        key: as it was given.
    """

    def __init__(self, event_id: uuid.UUID, signal: str, key: object) -> None:
        super().__init__(event_id, signal, key)
        self.event_id = event_id
        self.signal = signal
        self.key = key

    def __str__(self) -> str:
        sent = f"{self.signal} was already sent with the dedupe_key {self.key!r}"
        return f"{sent}, as event {self.event_id}"


class DecodeError(SignalTasksError):
    """A stored payload cannot be read here.

    Its delivery is dead, as ``undecodable``; replay it to a worker that can read it.
    """


class MissingInstance(SignalTasksError):
    """A model row that a payload refers to is gone.

    ``on_missing`` says what becomes of the delivery.

    Attributes:
        model: its label, as ``orders.order``.
        pk: its primary key.
        database: alias of the database that it was looked for in.
        hidden: it is there, but the base manager of its model does not show it.
    """

    def __init__(
        self, model: str, pk: object, database: str, *, hidden: bool = False
    ) -> None:
        super().__init__(model, pk, database)
        self.model = model
        self.pk = pk
        self.database = database
        self.hidden = hidden

    def __str__(self) -> str:
        row = f"{self.model} with pk {self.pk!r}"
        if self.hidden:
            return (
                f"{row} is in database {self.database!r}, but hidden by the base "
                "manager of its model (base_manager_name)"
            )
        return f"{row} is not in database {self.database!r}"


class LeaseLost(SignalTasksError):
    """This worker no longer holds the delivery; nothing that it does for it counts."""


class WorkerLost(SignalTasksError):
    """The lease was over before the receiver had finished: its worker died or hung."""


class BrokerUnavailable(SignalTasksError):
    """The broker did not take a message within the bounded time."""


class NoCurrentDelivery(SignalTasksError, LookupError):
    """``current_delivery()`` was called outside of a durable receiver.

    Or inside of a batch receiver, which runs for several deliveries.
    """


class NoAnswer(SignalTasksError):
    """A batch receiver has returned no answer for this delivery, which has failed."""


class Retry(SignalTasksError):
    """Raised by a receiver: run this delivery again later.

    In an atomic receiver what it wrote is undone.

    Args:
        message: kept with the failed attempt.
        after: seconds or a timedelta; None leaves the delay to the ``RetryPolicy``.
        counts: whether an attempt is spent. Without, the policy's ``give_up_after``
            ends it, or else the ``MAX_UNCOUNTED``th time.

    Attributes:
        MAX_UNCOUNTED: times that a delivery may ask to be run again without spending
            an attempt, if its policy has no ``give_up_after``: then it is dead, as
            ``exhausted``. A replay begins anew.

    Raises:
        ValueError: ``after`` is negative.
    """

    MAX_UNCOUNTED: ClassVar[int] = 1000

    def __init__(
        self,
        message: str = "",
        *,
        after: float | timedelta | None = None,
        counts: bool = True,
    ) -> None:
        super().__init__(message or "the receiver asked to be run again")
        self.after = after.total_seconds() if isinstance(after, timedelta) else after
        if self.after is not None and not self.after >= 0:
            raise ValueError(f"Retry: after is {after!r}; it cannot be negative")
        if self.after is not None:  # a larger int would overflow where it is used
            self.after = min(self.after, sys.float_info.max)
        self.counts = counts


class Reject(SignalTasksError):
    """Raised by a receiver: never run this delivery again; it is a dead letter.

    Its reason is ``rejected``. In an atomic receiver what it wrote is undone.

    Args:
        why: kept with the failed attempt.
    """

    def __init__(self, why: str = "the receiver rejected it") -> None:
        super().__init__(why)


class NotInForce(SignalTasksError, LookupError):
    """A target that is to be resumed or cleared is not paused or limited.

    Attributes:
        target: as it is stored.
        in_force: the targets that are.
    """

    def __init__(self, target: str, what: str, in_force: Sequence[str]) -> None:
        super().__init__(target, what, in_force)
        self.target = target
        self.what = what
        self.in_force = in_force

    def __str__(self) -> str:
        others = ", ".join(self.in_force) or "nothing"
        return f"{self.target} is not {self.what}; {self.what} now: {others}"


class Step(NamedTuple):
    """One cause in a chain: a receiver that ran for an event.

    Attributes:
        signal: name of the signal.
        receiver: name of the receiver.
        subject: the object that the event was about, as ``app.model:pk``, or empty.
    """

    signal: str
    receiver: str
    subject: str

    def __str__(self) -> str:
        about = f" of {self.subject}" if self.subject else ""
        return f"{self.signal}{about} -> {self.receiver}"


class SignalLoop(Reject):
    """A receiver has sent an event whose chain of causes would not end.

    Raised by the send, before anything is called or written. The receiver's delivery
    is dead, as ``rejected``: another attempt would do the same.

    Attributes:
        signal: name of the signal that was sent.
        chain: the causes of the event, the first one first: pairs of a signal and the
            receiver that ran for it, with the object that the event was about.
        why: a sentence, the same for all objects.
    """

    def __init__(
        self,
        signal: str,
        chain: Sequence[Step],
        why: str,
        way_out: str = "",
        since: int = 0,
    ) -> None:
        super().__init__(why)
        self.args = (signal, tuple(chain), why, way_out, since)
        self.signal = signal
        self.chain = tuple(chain)
        self.why = why

    def __str__(self) -> str:
        """Say why, then the end of the chain that goes round: long texts are cut."""
        _, _, why, way_out, since = self.args
        whole = self._shown(0)
        if not since:
            return f"{why} {whole} {way_out}".rstrip()
        return f"{why} {self._shown(since)} {way_out} {whole}"

    def _shown(self, since: int) -> str:
        steps = "; ".join(map(str, self.chain[since:]))
        which = "The end of its chain of causes" if since else "The chain of causes"
        return f"{which}: {steps}; {self.signal}."
