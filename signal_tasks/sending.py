"""Sends a signal: inline receivers are called, the event is written for durable ones.

What is encoded, called and written in which order is decided here; the signal only
says who listens.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, transaction
from django.dispatch import Signal

from signal_tasks import codec, signals
from signal_tasks.conf import settings

if TYPE_CHECKING:
    from signal_tasks.dispatch import AsyncSignal
    from signal_tasks.handles import DeliveryHandle
    from signal_tasks.outbox import Envelope, SendOptions
    from signal_tasks.registry import ReceiverFunction

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

        def inline() -> Responses:
            return Signal.send_robust(self.signal, sender, **named)

        prepared = self._prepare(sender, named)
        if prepared is None:
            return inline()
        durable = _write(prepared)
        return [*_sheltered(inline, prepared.envelope.database), *durable]

    async def asend(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.asend``."""
        prepared = await sync_to_async(self._prepare)(sender, named)
        inline = await Signal.asend(self.signal, sender, **named)
        return [*inline, *await sync_to_async(_write)(prepared)]

    async def asend_robust(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.asend_robust``."""
        prepared = await sync_to_async(self._prepare)(sender, named)
        durable = await sync_to_async(_write)(prepared)
        return [*await Signal.asend_robust(self.signal, sender, **named), *durable]

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
        if "signal" in named:
            raise TypeError("'signal' is handed to receivers by Django; rename it")
        signals.sending.send(sender=self.signal, origin=sender, kwargs=named)
        heard = list(self.signal.hearing(sender, named))
        if not heard:
            return None
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


def _sheltered(send_inline: Callable[[], Responses], database: str) -> Responses:
    """Call inline receivers so that the caller's transaction outlives them."""
    if not connections[database].in_atomic_block:
        return send_inline()
    responses: Responses = []
    try:
        with transaction.atomic(using=database):
            responses = send_inline()
            if any(isinstance(answer, DatabaseError) for _, answer in responses):
                transaction.set_rollback(True, using=database)
    except DatabaseError:
        # A receiver hid an error that its savepoint could not survive; Django has
        # rolled back to before it, and the transaction is usable again.
        return responses
    return responses


def outbox() -> Any:
    """The outbox, once the app registry is ready.

    Signals are declared while Django still loads the apps, when models must not be
    imported; by the time one is sent, they may.
    """
    from signal_tasks import outbox as module

    return module
