"""Sends a signal: inline receivers are called, the event is written for durable ones.

What is encoded, called and written in which order is decided here; the signal only
says who listens.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, transaction
from django.dispatch import Signal

from signal_tasks import codec, signals
from signal_tasks.conf import settings

if TYPE_CHECKING:
    from signal_tasks.dispatch import AsyncSignal
    from signal_tasks.handles import DeliveryHandle
    from signal_tasks.outbox import Envelope, SendOptions
    from signal_tasks.registry import Receiver, ReceiverFunction

Responses = list[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """An event ready to be written, and the functions that are to hear of it."""

    envelope: Envelope
    functions: Mapping[str, ReceiverFunction | None]


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
        return [*Signal.send(self.signal, sender, **named), *_write(prepared)]

    def send_robust(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.send_robust``."""
        prepared = self._prepare(sender, named)
        durable = _write(prepared)
        with Shelter(prepared) as shelter:
            shelter.inline = Signal.send_robust(self.signal, sender, **named)
        return [*shelter.inline, *durable]

    async def asend(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.asend``."""
        prepared = await self._aprepare(sender, named)
        inline = await Signal.asend(self.signal, sender, **named)
        return [*inline, *await _awrite(prepared)]

    async def asend_robust(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.asend_robust``."""
        prepared = await self._aprepare(sender, named)
        durable = await _awrite(prepared)
        async with Shelter(prepared) as shelter:
            shelter.inline = await Signal.asend_robust(self.signal, sender, **named)
        return [*shelter.inline, *durable]

    def send_many(
        self, sender: Any, items: Iterable[Mapping[str, Any]]
    ) -> list[uuid.UUID]:
        """See ``AsyncSignal.send_many``."""
        named = [dict(item) for item in items]
        prepared = [self._prepare(sender, each) for each in named]
        for each in named:
            Signal.send(self.signal, sender, **each)
        written = outbox().write(p.envelope for p in prepared if p is not None)
        return [handles[0].event_id for handles in written]

    def _prepare(self, sender: Any, named: dict[str, Any]) -> Prepared | None:
        """Encode the event for the durable receivers that are to hear of it."""
        heard = list(self.signal.hearing(sender, named))
        prepared = self._encoded(sender, named, heard) if heard else None
        signals.sending.send(sender=self.signal, origin=sender, kwargs=named)
        return prepared

    async def _aprepare(self, sender: Any, named: dict[str, Any]) -> Prepared | None:
        if not self.signal.durable_connections:
            return self._prepare(sender, named)
        return await sync_to_async(self._prepare)(sender, named)

    def _encoded(
        self, sender: Any, named: dict[str, Any], heard: list[Receiver]
    ) -> Prepared:
        if "signal" in named:
            raise TypeError("'signal' is handed to receivers by Django; rename it")
        options = self.options or outbox().SendOptions()
        name = self.signal.name
        payload = codec.encode(
            name, sender, named, max_bytes=settings().MAX_PAYLOAD_BYTES
        )
        envelope = outbox().Envelope(
            signal=name,
            payload=payload,
            receivers=tuple(r.name for r in heard),
            options=options,
            database=outbox().alias_for(options.database, sender),
        )
        return Prepared(envelope, {r.name: r.function() for r in heard})


def _write(prepared: Prepared | None) -> list[tuple[Any, DeliveryHandle]]:
    if prepared is None:
        return []
    (handles,) = outbox().write([prepared.envelope])
    return [(prepared.functions[handle.receiver], handle) for handle in handles]


async def _awrite(prepared: Prepared | None) -> list[tuple[Any, DeliveryHandle]]:
    return await sync_to_async(_write)(prepared) if prepared is not None else []


class Shelter:
    """Calls inline receivers so that the transaction with the event outlives them."""

    def __init__(self, prepared: Prepared | None) -> None:
        self._database = prepared.envelope.database if prepared is not None else None
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


def outbox() -> Any:
    """The outbox, once the app registry is ready.

    Signals are declared while Django still loads the apps, when models must not be
    imported; by the time one is sent, they may.
    """
    from signal_tasks import outbox as module

    return module
