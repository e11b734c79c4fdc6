"""Ask durable receivers, one by one, whether they hear an event that is stored.

What cannot be read here is no reason to keep the event from a receiver: it gets a
delivery, which then ends ``missing`` or ``undecodable``, or waits for newer code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db import transaction

from signal_tasks import codec
from signal_tasks.codec import Payload
from signal_tasks.db.errors import is_retryable
from signal_tasks.dispatch.connection import Connection
from signal_tasks.exceptions import DecodeError, MissingInstance
from signal_tasks.interrupt import SoftTimeLimitExceeded, is_stop
from signal_tasks.outbox.merge import coalesce_keys
from signal_tasks.outbox.options import PLAIN
from signal_tasks.outbox.ordering import KeyFunction, with_key
from signal_tasks.registry.registry import Receiver
from signal_tasks.registry.settled import SettledEvent


class StoredPayload:
    """The payload of an event: read once for all, unless something is gone."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read_by(self, receiver: Receiver) -> Payload | None:
        """Return the payload as a receiver reads it, or None if it skips what is gone.

        Raises:
            MissingInstance, DecodeError: it cannot read it.
        """
        on_missing = receiver.options.on_missing
        return self._whole or codec.decode_unless_skipped(
            self._text, on_missing=on_missing
        )

    @cached_property
    def readable(self) -> Payload:
        """As much of the payload as this process can read."""
        if self._whole is not None:
            return self._whole
        try:
            return codec.decode(self._text, on_missing="none")
        except DecodeError:
            return self._without_keywords()

    @cached_property
    def _whole(self) -> Payload | None:
        try:
            return codec.decode(self._text)
        except (DecodeError, MissingInstance):
            return None

    def _without_keywords(self) -> Payload:
        try:
            return codec.decode_sender(self._text)
        except DecodeError:
            return Payload(None, {})


@dataclass(frozen=True, slots=True)
class Question:
    """An event that is stored, for the receivers of a signal that tells of it.

    ``own`` are the keywords that the signal adds; ``key`` is the function of its
    ordered receivers, which is called without these.
    """

    event: SettledEvent
    payload: StoredPayload
    own: Mapping[str, Any]
    key: KeyFunction | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The keys of a receiver that hears an event, as far as it has any."""

    ordering: str = ""
    coalescing: str = ""


HEARD = Answer()


@dataclass(slots=True)
class Answers:
    """The receivers that hear an event, their keys, and the errors of others."""

    receivers: dict[str, Receiver] = field(default_factory=dict)
    key: str = ""
    coalesced: dict[str, str] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)

    def add(self, receiver: Receiver, answer: Answer, event: SettledEvent) -> None:
        """Add a receiver that hears the event."""
        self.receivers[receiver.name] = receiver
        self.key = self.key or answer.ordering
        if receiver.options.coalesce is not None:
            # One that cannot be read is merged with no other.
            self.coalesced[receiver.name] = answer.coalescing or str(event.id)


def ask_all(connections: Iterable[Connection], question: Question) -> Answers:
    """Ask each receiver whether it hears the event.

    An error of its ``when``, or of a key, is its own: it keeps no other one from it. A
    database that is away is no answer: raised, it has the event tried again.
    """
    answers = Answers()
    sender = question.payload.readable.sender
    for each in connections:
        receiver = each.receiver
        if receiver.name in answers.receivers or not each.matches_stored(sender):
            continue
        try:
            answer = _ask(each, question)
        # Code of the project: it may raise anything, ``sys.exit()`` too.
        except BaseException as error:
            if _is_no_answer(error):
                raise
            answers.errors[receiver.name] = error
        else:
            if answer is not None:
                answers.add(receiver, answer, question.event)
    return answers


def _is_no_answer(error: BaseException) -> bool:
    """Return True if an error has nothing to do with what was asked."""
    is_limit = isinstance(error, SoftTimeLimitExceeded)
    return is_limit or is_retryable(error) or is_stop(error)


def _ask(connection: Connection, question: Question) -> Answer | None:
    """Return the keys of a receiver that hears the event, or None if it does not.

    Raises what its functions raise; what they have written is undone then.
    """
    options = connection.receiver.options
    functions = (connection.when, options.coalesce, options.ordered and question.key)
    if not any(functions):
        return HEARD
    with transaction.atomic(using=question.event.database):
        return _answer(connection, question)


def _answer(connection: Connection, question: Question) -> Answer | None:
    receiver = connection.receiver
    try:
        payload = question.payload.read_by(receiver)
    except (DecodeError, MissingInstance):  # so will its delivery, which tells it
        return HEARD
    if payload is None:
        return None
    sender, named = payload.sender, {**payload.kwargs, **question.own}
    if not connection.accepts(sender, named):
        return None
    name = question.event.signal
    options = with_key(PLAIN, question.key, name, [receiver], sender, payload.kwargs)
    coalesced = coalesce_keys([receiver], sender, named)
    return Answer(options.key, coalesced.get(receiver.name, ""))
