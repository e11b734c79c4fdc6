"""Sends a signal: inline receivers are called, the event is written for durable ones.

What is encoded, called and written in which order is decided here; the signal only
says who listens.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, transaction
from django.dispatch import Signal

from signal_tasks import codec, signals
from signal_tasks.conf import settings
from signal_tasks.handles import DeliveryHandle

if TYPE_CHECKING:
    from signal_tasks.dispatch import AsyncSignal
    from signal_tasks.inserts import NewEvent
    from signal_tasks.outbox import Letter, SendOptions
    from signal_tasks.registry import Receiver

Responses = list[tuple[Any, Any]]


@dataclass(slots=True)
class Prepared:
    """An event ready to be written to ``database``, and who is to hear of it."""

    heard: Sequence[Receiver]
    letter: Letter
    database: str


@dataclass(frozen=True, slots=True)
class BoundSignal:
    """A signal with the options of ``using()``; sends as the signal itself does.

    Django's own methods are called for the inline receivers.
    """

    signal: AsyncSignal
    options: SendOptions | None = None

    def send(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.send``."""
        prepared = self._prepare(sender, named)
        return [*Signal.send(self.signal, sender, **named), *self._write(prepared)]

    def send_robust(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.send_robust``."""
        prepared = self._prepare(sender, named)
        durable = self._write(prepared)
        with Shelter(prepared) as shelter:
            shelter.inline = Signal.send_robust(self.signal, sender, **named)
        return [*shelter.inline, *durable]

    async def asend(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.asend``."""
        prepared = await self._aprepare(sender, named)
        inline = await Signal.asend(self.signal, sender, **named)
        return [*inline, *await self._awrite(prepared)]

    async def asend_robust(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.asend_robust``."""
        prepared = await self._aprepare(sender, named)
        durable = await self._awrite(prepared)
        async with Shelter(prepared) as shelter:
            shelter.inline = await Signal.asend_robust(self.signal, sender, **named)
        return [*shelter.inline, *durable]

    def send_many(
        self, sender: Any, items: Iterable[Mapping[str, Any]]
    ) -> list[uuid.UUID]:
        """See ``AsyncSignal.send_many``."""
        named = [dict(item) for item in items]
        letters = [
            self._letter(sender, each, self._heard(sender, each)) for each in named
        ]
        database = self._database(sender)
        for each in named:
            Signal.send(self.signal, sender, **each)
        owed = [letter for letter in letters if letter is not None]
        return [event.id for event in self._owe(owed, database)]

    def _prepare(self, sender: Any, named: dict[str, Any]) -> Prepared | None:
        """Encode the event for the durable receivers that are to hear of it."""
        heard = self._heard(sender, named)
        letter = self._letter(sender, named, heard)
        if letter is None:
            return None
        return Prepared(heard, letter, self._database(sender))

    async def _aprepare(self, sender: Any, named: dict[str, Any]) -> Prepared | None:
        if not self.signal.durable_connections:
            return self._prepare(sender, named)
        return await sync_to_async(self._prepare)(sender, named)

    def _heard(self, sender: Any, named: dict[str, Any]) -> list[Receiver]:
        return list(self.signal.hearing(sender, named))

    def _letter(
        self, sender: Any, named: dict[str, Any], heard: Sequence[Receiver]
    ) -> Letter | None:
        """The event as it is to be written, if anybody is to hear of it."""
        letter = None
        if heard:
            if "signal" in named:
                raise TypeError("'signal' is handed to receivers by Django; rename it")
            most = settings().MAX_PAYLOAD_BYTES
            payload = codec.encode(self.signal.name, sender, named, max_bytes=most)
            letter = outbox().Letter(payload, [receiver.name for receiver in heard])
        signals.sending.send(sender=self.signal, origin=sender, kwargs=named)
        return letter

    def _database(self, sender: Any) -> str:
        named = self.options.database if self.options is not None else None
        alias: str = outbox().alias_for(named, sender)
        return alias

    def _owe(self, letters: Sequence[Letter], database: str) -> list[NewEvent]:
        if not letters:
            return []
        options, name = self.options or outbox().PLAIN, self.signal.name
        events: list[NewEvent] = outbox().write(
            name, letters, options=options, database=database
        )
        return events

    def _write(self, prepared: Prepared | None) -> Responses:
        """Write the event; each receiver with the handle of its delivery."""
        if prepared is None:
            return []
        database = prepared.database
        (event,) = self._owe([prepared.letter], database)
        return [
            (receiver.function(), DeliveryHandle(pk, event.id, name, database))
            for receiver, (pk, name) in zip(
                prepared.heard, event.deliveries, strict=True
            )
        ]

    async def _awrite(self, prepared: Prepared | None) -> Responses:
        return await sync_to_async(self._write)(prepared) if prepared else []


class Shelter:
    """Calls inline receivers so that the transaction with the event outlives them."""

    def __init__(self, prepared: Prepared | None) -> None:
        self._database = prepared.database if prepared is not None else None
        self._atomic: transaction.Atomic | None = None
        self.inline: Responses = []

    def __enter__(self) -> Self:
        if self._database and connections[self._database].in_atomic_block:
            self._atomic = transaction.atomic(using=self._database)
            self._atomic.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        if self._atomic is None:
            return
        if any(isinstance(answer, DatabaseError) for _, answer in self.inline):
            transaction.set_rollback(True, using=self._database)
        # A receiver may hide an error that its savepoint cannot survive; Django then
        # rolls back to before it and raises, and the transaction is usable again.
        with suppress(DatabaseError):
            self._atomic.__exit__(*raised)

    async def __aenter__(self) -> Self:
        return await sync_to_async(self.__enter__)() if self._database else self

    async def __aexit__(self, *raised: Any) -> None:
        if self._atomic is not None:
            await sync_to_async(self.__exit__)(*raised)


@cache
def outbox() -> Any:
    """The outbox, once the app registry is ready.

    Signals are declared while Django still loads the apps, when models must not be
    imported; by the time one is sent, they may.
    """
    from signal_tasks import outbox as module

    return module
