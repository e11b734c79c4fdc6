"""Call a batch receiver for a list of deliveries.

# Note [Batch receivers]
Deliveries share a call if they are of one signal, were sent in the same context, and
have all failed before or none of them: so one that always fails disturbs no other for the
first time. What cannot share a call, or was in one that failed, is alone: a batch of
one, run in the ways of other receivers.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from django.dispatch import Signal

from signal_tasks import codec, context, spans
from signal_tasks.delivery.answers import Answers, answers
from signal_tasks.delivery.call import Job, current_of, extend, finished, restored
from signal_tasks.exceptions import DecodeError, MissingInstance
from signal_tasks.interrupt import interruptible
from signal_tasks.registry.naming import ReceiverFunction
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.spans import TRACEPARENT


class Part(NamedTuple):
    """A job for a list, with what its event has stored.

    ``shared`` is the part of its context that is restored around the call, and ``key``
    is the same in all parts of a list: Note [Batch receivers].
    """

    job: Job
    headers: Mapping[str, Any]
    carried: Mapping[str, Any]
    shared: Mapping[str, Any]

    @property
    def key(self) -> Hashable:
        """The properties that parts of one call have in common."""
        text = json.dumps(self.shared, sort_keys=True) if self.shared else ""
        return self.job.claimed.signal, self.job.claimed.attempt > 1, text


class Called(NamedTuple):
    """The answers of a receiver, and why it was not asked about the others."""

    answers: Answers
    unread: Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class LoneJob(Job):
    """A job of a batch receiver that runs alone, as a batch of one.

    ``is_suspect``: it was in a call that failed, and may be the cause.
    """

    is_suspect: bool = False


def part_of(job: Job, unshared: Collection[str]) -> Part | None:
    """Return a job as a part of a list; None if it has to run alone.

    Its headers are damaged, or it may be too old to be run at all.
    """
    if job.receiver.policy.is_over(job.age):
        return None
    try:
        headers, carried = context.split_headers(job.claimed.headers)
    except DecodeError:
        return None
    shared = {name: carried[name] for name in carried.keys() - unshared}
    return Part(job, headers, carried, shared)


def alone(jobs: Iterable[Job], *, are_suspect: bool = False) -> list[LoneJob]:
    """Return the jobs of a batch receiver as ones that run alone."""
    return [
        LoneJob(
            claimed=job.claimed,
            receiver=_of_one(job.receiver),
            claimed_at=job.claimed_at,
            is_suspect=are_suspect,
        )
        for job in jobs
    ]


def _of_one(receiver: Receiver) -> Receiver:
    """Return a batch receiver as one that takes its deliveries one at a time."""

    def function() -> Callable[..., None] | None:
        found = receiver.function()
        return None if found is None else partial(_call_for_one, receiver.name, found)

    return replace(receiver, function=function)


def _call_for_one(
    name: str,
    function: ReceiverFunction,
    /,
    *,
    signal: Signal | None,
    sender: object,
    **arguments: Any,
) -> None:
    """Call a batch receiver for the current delivery; raise what it answers."""
    item = context.BatchItem(
        sender=sender, arguments=arguments, delivery=context.current_delivery()
    )
    error = _ask(name, function, signal, [item])[item.id]
    if error is not None:
        raise error


def call_list(parts: Sequence[Part]) -> Called:
    """Decode the payloads and call the receiver; raise whatever it raises.

    All of it in the context of the senders, which is the same. A payload that cannot be
    read is no part of the batch.
    """
    if spans.active is None:
        return _call_in_context(parts)
    first = parts[0].job
    traces = [
        trace
        for each in parts
        if isinstance(trace := each.carried.get(TRACEPARENT), str)
    ]
    facts: dict[str, Any] = {
        "messaging.batch.message_count": len(parts),
        "signal_tasks.signal": first.claimed.signal,
    }
    with spans.active.run_batch(first.receiver.name, traces, facts):
        return _call_in_context(parts)


def _call_in_context(parts: Sequence[Part]) -> Called:
    if not (shared := parts[0].shared):
        return _call(parts)
    database = parts[0].job.claimed.database
    with context.surrounding(database, partial(restored, shared)):
        return _call(parts)


def _call(parts: Sequence[Part]) -> Called:
    first = parts[0].job
    function = first.receiver.function()
    if function is None:
        raise LookupError(f"{first.receiver.name} was disconnected meanwhile")
    items: list[context.BatchItem] = []
    unread: dict[uuid.UUID, BaseException | None] = {}
    jobs = [part.job for part in parts]
    for part in parts:
        try:
            items.append(_item(part, jobs))
        except (DecodeError, MissingInstance) as error:
            unread[part.job.claimed.id] = error
    if not items:
        return Called({}, unread)
    signal = registry.signal(first.claimed.signal)
    return Called(_ask(first.receiver.name, function, signal, items), unread)


def _item(part: Part, jobs: Sequence[Job]) -> context.BatchItem:
    claimed, on_missing = part.job.claimed, part.job.receiver.options.on_missing
    if not claimed.payload:
        raise DecodeError("its event was deleted")
    payload = codec.decode(claimed.payload, on_missing=on_missing)
    causes = part.carried.get(context.CAUSES, ())
    correlation = context.carried_correlation(part.carried)
    current = current_of(part.job, part.headers, payload, causes, correlation)
    return context.BatchItem(
        sender=payload.sender,
        arguments=payload.kwargs,
        delivery=replace(current, _extend=lambda seconds: extend(jobs, seconds)),
    )


def _ask(
    name: str,
    function: ReceiverFunction,
    signal: Signal | None,
    items: Sequence[context.BatchItem],
) -> Answers:
    batch = tuple(items)
    deliveries = [item.delivery for item in batch]
    surroundings = partial(context.delivering_batch, deliveries)
    with context.surrounding(deliveries[0].database, surroundings), interruptible:
        return answers(finished(function(signal=signal, batch=batch)), batch, name)
