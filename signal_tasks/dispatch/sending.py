"""The ways of a send: to inline receivers through Django, to durable ones by the outbox."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.dispatch import Signal

from signal_tasks import signals
from signal_tasks.db.insert import NewEvent
from signal_tasks.dispatch.connection import Connections
from signal_tasks.dispatch.savepoint import InlineSavepoint
from signal_tasks.outbox.handles import Responses, duplicate_responses, responses
from signal_tasks.outbox.merge import coalesce_keys
from signal_tasks.outbox.options import SendOptions
from signal_tasks.outbox.ordering import KeyFunction, with_key
from signal_tasks.outbox.write import EncodedEvent, prepare, write, write_once
from signal_tasks.registry.settled import Settled

#: Without the app nobody imports the modules of receivers, so that none would be missed.
NOT_INSTALLED = (
    "signal_tasks is not in INSTALLED_APPS: the durable receivers of this signal are not "
    'connected, and nothing would be stored. Add "signal_tasks" to INSTALLED_APPS.'
)
_NO_ITEMS = "send_many(): {}; give a list with a mapping of keywords for each event"


class SendPaths(Signal):
    """A signal that sends with options; ``AsyncSignal`` and ``BoundSignal`` call these.

    Each path prepares the event, which may raise an error, before it calls a receiver
    or writes.
    """

    _durable: Connections
    _key: KeyFunction | None
    sensitive: tuple[str, ...]
    _settled: Settled | None = None

    @property
    def name(self) -> str:
        """The name under which events are stored."""
        raise NotImplementedError

    def _send(
        self, sender: Any, named: dict[str, Any], options: SendOptions
    ) -> Responses:
        event = self._prepare(sender, named, options)
        if event is not None and options.dedupe is not None:
            return self._send_once(event, sender, named)
        inline = super().send(sender, **named)
        return [*inline, *_write(event)[0]]

    def _send_once(
        self, event: EncodedEvent, sender: Any, named: dict[str, Any]
    ) -> Responses:
        """Write the event, which decides whether inline receivers are called."""
        # As Django's send(): with use_caching, has_listeners() refuses some senders.
        has_inline = bool(self.receivers) and super().has_listeners(sender)
        undo_if_one_raises: AbstractContextManager[None] = (
            transaction.atomic(using=event.database) if has_inline else nullcontext()
        )
        with undo_if_one_raises:
            durable, is_first = _write(event)
            inline = super().send(sender, **named) if is_first else []
        return [*inline, *durable]

    def _send_robust(
        self, sender: Any, named: dict[str, Any], options: SendOptions
    ) -> Responses:
        event = self._prepare(sender, named, options)
        durable, is_first = _write(event)
        if not is_first:
            return durable
        with InlineSavepoint(event.database if event else None) as savepoint:
            savepoint.responses = super().send_robust(sender, **named)
        return [*savepoint.responses, *durable]

    async def _asend(
        self, sender: Any, named: dict[str, Any], options: SendOptions
    ) -> Responses:
        event = await self._aprepare(sender, named, options)
        if event is None or options.dedupe is None:
            inline = await super().asend(sender, **named)
            return [*inline, *(await _awrite(event))[0]]
        durable, is_first = await _awrite(event)
        return [*(await super().asend(sender, **named) if is_first else []), *durable]

    async def _asend_robust(
        self, sender: Any, named: dict[str, Any], options: SendOptions
    ) -> Responses:
        event = await self._aprepare(sender, named, options)
        durable, is_first = await _awrite(event)
        if not is_first:
            return durable
        async with InlineSavepoint(event.database if event else None) as savepoint:
            savepoint.responses = await super().asend_robust(sender, **named)
        return [*savepoint.responses, *durable]

    def _send_many(
        self, sender: Any, items: Iterable[Mapping[str, Any]], options: SendOptions
    ) -> list[uuid.UUID]:
        if options.dedupe is not None:
            raise ValueError(
                "send_many() would write one event of many under a single dedupe_key; "
                "send each with using(dedupe_key=...).send()"
            )
        kwargs = _keywords(items)
        events = [self._prepare(sender, named, options) for named in kwargs]
        for named in kwargs:
            super().send(sender, **named)
        return [written.id for written in write(filter(None, events))]

    def _prepare(
        self, sender: Any, named: dict[str, Any], options: SendOptions
    ) -> EncodedEvent | None:
        """Encode the event for its durable receivers; None if it has none."""
        receivers = [
            each.receiver for each in self._durable.connections_for(sender, named)
        ]
        event = None
        if receivers:
            keys = coalesce_keys(receivers, sender, named)
            options = with_key(options, self._key, self.name, receivers, sender, named)
            if self.sensitive:
                options = replace(options, sensitive=self.sensitive)
            if self._settled is not None and self._settled.is_heard:
                options = replace(options, settles=True)
            event = prepare(self.name, sender, named, receivers, options, keys)
        elif apps.ready and not apps.is_installed("signal_tasks"):
            raise ImproperlyConfigured(NOT_INSTALLED)
        details = signals.SignalSending(signal=self, sender=sender, kwargs=named)
        signals.signal_sending.send(self, details=details)
        return event

    async def _aprepare(
        self, sender: Any, named: dict[str, Any], options: SendOptions
    ) -> EncodedEvent | None:
        if not self._durable.live:
            return self._prepare(sender, named, options)
        return await sync_to_async(self._prepare)(sender, named, options)


@dataclass(frozen=True, slots=True)
class BoundSignal:
    """A signal with the options of ``using()``; sends as the signal itself does."""

    signal: SendPaths
    options: SendOptions

    def send(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.send``."""
        return self.signal._send(sender, named, self.options)

    def send_robust(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.send_robust``."""
        return self.signal._send_robust(sender, named, self.options)

    async def asend(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.asend``."""
        return await self.signal._asend(sender, named, self.options)

    async def asend_robust(self, sender: Any, **named: Any) -> Responses:
        """See ``AsyncSignal.asend_robust``."""
        return await self.signal._asend_robust(sender, named, self.options)

    def send_many(
        self, sender: Any, items: Iterable[Mapping[str, Any]]
    ) -> list[uuid.UUID]:
        """See ``AsyncSignal.send_many``."""
        return self.signal._send_many(sender, items, self.options)


def _write(event: EncodedEvent | None) -> tuple[Responses, bool]:
    """Write an event; return its receivers with the handles of their deliveries.

    Also return True, or False for a duplicate, of which nothing is written: then the
    receivers and handles are those of the first event.
    """
    if event is None:
        return [], True
    if event.options.dedupe is None:
        (written,) = write([event])
        return responses(event, written), True
    result = write_once(event, event.options.dedupe)
    if isinstance(result, NewEvent):
        return responses(event, result), True
    return duplicate_responses(event, event.options.dedupe, result), False


def _keywords(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the keywords of each event of ``send_many``."""
    if isinstance(items, Mapping):
        raise TypeError(_NO_ITEMS.format("items is a single mapping"))
    found = list(items)
    for item in found:
        if not isinstance(item, Mapping):
            raise TypeError(_NO_ITEMS.format(f"an item is {item!r}"))
    return [dict(item) for item in found]


async def _awrite(event: EncodedEvent | None) -> tuple[Responses, bool]:
    return await sync_to_async(_write)(event) if event is not None else ([], True)
