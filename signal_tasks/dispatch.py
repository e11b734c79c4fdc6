"""``AsyncSignal``: a Django signal whose receivers run later, elsewhere, durably.

Inline receivers are left to Django's ``Signal``; durable ones are kept here, and
sending to them means writing to the outbox.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal

from signal_tasks.broker import Report, register_task
from signal_tasks.connecting import Connection, When, check, key_of, refuse_durable
from signal_tasks.identity import (
    calling_module,
    receiver_reference,
    sender_reference,
)
from signal_tasks.registry import (
    Holder,
    OnMissing,
    Options,
    Receiver,
    ReceiverFunction,
    names,
    receiver_name,
    registry,
    signal_name,
)
from signal_tasks.retry import RetryPolicy
from signal_tasks.sending import BoundSignal, Responses, outbox


class AsyncSignal(Signal):
    """A signal whose receivers run later, elsewhere, durably (not asyncio).

    ``send()`` writes an event and one delivery for each connected receiver into the
    database, in the caller's transaction; after the commit a Celery worker runs
    each. Receivers connected with ``inline=True`` behave exactly as Django's.

    Args:
        use_caching: as in Django; for inline receivers.
        name: what events are filed under; by default ``module.attribute`` of the
            signal, found when first needed. ``ImproperlyConfigured`` is raised then
            for a signal that no module holds.
        aliases: its former names, under which events may still be stored.
    """

    def __init__(
        self,
        use_caching: bool = False,
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
    ) -> None:
        super().__init__(use_caching)
        self._given_name = name
        self._aliases = names(aliases)
        self._module = calling_module(self)
        self._durable: tuple[Connection, ...] = ()
        self._durable_lock = threading.Lock()
        _signals.add(self)

    @property
    def name(self) -> str:
        """The stable name; ``ImproperlyConfigured`` if there is none to be found."""
        if self._given_name is None:
            self._given_name = signal_name(self, self._module)
        return self._given_name

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__}: {self.name}>"
        except ImproperlyConfigured:
            return super().__repr__()

    @property
    def durable_connections(self) -> tuple[Connection, ...]:
        """The durable receivers that are connected and alive."""
        return tuple(c for c in self._durable if c.receiver.function() is not None)

    # -- connecting ---------------------------------------------------------------

    def connect(  # noqa: PLR0913 - Django's signature, and one keyword per option
        self,
        receiver: ReceiverFunction,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        *,
        inline: bool = False,
        name: str | None = None,
        aliases: Iterable[str] = (),
        queue: str | None = None,
        atomic: bool = True,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        rate_limit: str | int | None = None,
        on_missing: OnMissing = "reject",
        when: When | None = None,
        group_commit: bool = True,
    ) -> None:
        """Connect a receiver; durable, unless ``inline=True`` leaves it to Django.

        Touches no database. ``django.dispatch.receiver`` hands its keywords to here.

        Args:
            receiver: a function, or coroutine function, of ``sender`` and keywords;
                it has to accept ``**kwargs``.
            sender: hear of this sender alone, by identity, in the sending process.
            weak: do not keep the receiver alive.
            dispatch_uid: what tells connections apart, as in Django; if it is a
                string, also the receiver's name.
            inline: leave the receiver to Django: in the sender's process and
                transaction, its exceptions propagate from ``send()``.
            name: stable name of the receiver and of its Celery task; by default
                ``dispatch_uid``, else ``module.qualname``.
            aliases: former names, under which deliveries may still be owed.
            queue: Celery queue; by default ``SIGNAL_TASKS["QUEUE"]``, else as Celery
                routes a task of that name.
            atomic: run in one transaction with the delivery's end, on the event's
                database; ``False`` runs outside of any transaction.
            retry: policy; by default ``SIGNAL_TASKS["RETRY"]``.
            timeout: seconds; becomes Celery's soft time limit, the hard one is 5 s
                later. The lease is 10 s longer than it.
            rate_limit: Celery's, counted in messages, of which each may carry many
                deliveries.
            on_missing: what to do when a row that the payload refers to is gone:
                ``"reject"`` makes a dead letter, ``"skip"`` discards, ``"none"``
                hands over None.
            when: function of ``sender`` and keywords, called in ``send()``; where it
                is false there is no delivery. Its exceptions propagate.
            group_commit: atomic deliveries of this receiver may share a commit.

        Raises:
            ImproperlyConfigured: for a receiver that has no stable name, a name that
                is taken, or options that make no sense.
            TypeError: the receiver cannot be called.
            ValueError: the receiver does not accept ``**kwargs``.
        """
        options = Options(
            queue=queue,
            atomic=atomic,
            retry=retry,
            timeout=timeout,
            rate_limit=rate_limit,
            on_missing=on_missing,
            group_commit=group_commit,
        )
        if inline:
            refuse_durable(receiver, name, names(aliases), when, options)
            super().connect(receiver, sender, weak, dispatch_uid)
            return
        check(receiver, options, when)
        durable = Receiver(
            name=receiver_name(receiver, name, dispatch_uid),
            aliases=names(aliases),
            options=options,
            function=receiver_reference(receiver, weak=weak),
        )
        key = key_of(receiver, sender, dispatch_uid)
        self._add(Connection(key, durable, sender_reference(sender), when))

    def _add(self, connection: Connection) -> None:
        """Add it, in the place of what it replaces: itself, or its reloaded module's.

        The registry refuses a name that is taken, or known with other options.
        """
        self._announce()
        receiver = connection.receiver
        with self._durable_lock:
            registry.add(receiver, self._holder(connection))
            for name in receiver.names:
                register_task(name, _work_off, rate_limit=receiver.options.rate_limit)
            self._forget(connection.key, keep_holder=True)
            self._durable = (*self._durable, connection)

    def _forget(self, key: object, *, keep_holder: bool = False) -> bool:
        """Drop the connection of that key, and dead ones; whether there was one."""
        kept = [c for c in self.durable_connections if c.key != key]
        gone = [c for c in self._durable if c not in kept]
        self._durable = tuple(kept)
        for old in gone:
            if old.key != key or not keep_holder:
                registry.release(old.receiver, self._holder(old))
        return any(old.key == key for old in gone)

    def _holder(self, connection: Connection) -> Holder:
        return (weakref.ref(self), connection.key)

    def _announce(self) -> None:
        for name in (self.name, *self._aliases):
            registry.add_signal(name, self._handed_to_receivers())

    def _handed_to_receivers(self) -> Signal:
        return self

    def disconnect(
        self,
        receiver: ReceiverFunction | None = None,
        sender: object = None,
        dispatch_uid: Any = None,
    ) -> bool:
        """Disconnect a durable or inline receiver; whether there was one.

        By the receiver or its ``dispatch_uid``, and the sender it was connected for.
        What is owed to it stays owed, as an orphan, to a process that knows it.
        """
        key = key_of(receiver, sender, dispatch_uid)
        with self._durable_lock:
            durable = self._forget(key)
        inline = super().disconnect(receiver, sender, dispatch_uid)
        return durable or inline

    def has_listeners(self, sender: object = None) -> bool:
        """Whether anybody, inline or durable, would hear of this sender."""
        durable = any(c.is_for(sender) for c in self._durable)
        return durable or super().has_listeners(sender)

    # -- sending ------------------------------------------------------------------

    def send(self, sender: Any, **named: Any) -> Responses:
        """Call inline receivers now and owe the event to durable ones.

        Runs in the caller's transaction, or is one of its own; never waits for the
        broker. An inline receiver's exception propagates, and nothing is owed.

        Args:
            sender: None, a string, a class, a model class, or a model instance.
            named: what receivers get. Model instances travel by reference.

        Returns:
            Pairs of receiver and response, which is what an inline receiver returned,
            and a ``DeliveryHandle`` for a durable one.

        Raises:
            PayloadError: a value cannot travel, or there is too much of it; before
                anything is called or written, so the transaction stays usable.
            ImproperlyConfigured: the signal has no name.
        """
        return BoundSignal(self).send(sender, **named)

    def send_robust(self, sender: Any, **named: Any) -> Responses:
        """As ``send``, but an inline receiver's exception becomes its response.

        The event is written first, so no inline receiver can keep it from durable
        ones. When one leaves the transaction broken, what the inline receivers
        wrote is undone.
        """
        return BoundSignal(self).send_robust(sender, **named)

    async def asend(self, sender: Any, **named: Any) -> Responses:
        """As ``send``, for async code.

        Django has no transactions in async code: the event is a transaction of its
        own, unless the whole is called from a synchronous ``atomic()`` block.
        """
        return await BoundSignal(self).asend(sender, **named)

    async def asend_robust(self, sender: Any, **named: Any) -> Responses:
        """As ``send_robust``, for async code."""
        return await BoundSignal(self).asend_robust(sender, **named)

    def send_many(
        self, sender: Any, items: Iterable[Mapping[str, Any]]
    ) -> list[uuid.UUID]:
        """Send one event for each mapping of keywords.

        A constant number of statements per thousand events. Everything is encoded
        before anything is written, and all of it is one transaction.

        Returns:
            The ids of the events that were written; none for an item that no durable
            receiver is to hear of.

        Raises:
            PayloadError: as ``send``; nothing of any item is written then.
        """
        return BoundSignal(self).send_many(sender, items)

    def using(
        self,
        *,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
        database: str | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> BoundSignal:
        """The same send methods with options for the durable deliveries.

        Args:
            delay: seconds or a timedelta; no delivery runs earlier, by the
                database's clock.
            at: an aware datetime; the same.
            database: alias whose transaction the event belongs to.
            headers: JSON values that receivers find in ``current_delivery()``.

        Raises:
            TypeError, ValueError: for a naive datetime, both of ``delay`` and ``at``,
                or headers that are not JSON.
        """
        seconds, at = outbox().due_time(delay, at)
        options = outbox().SendOptions(
            delay=seconds,
            at=at,
            database=database,
            headers=outbox().checked_headers(headers),
        )
        return BoundSignal(self, options)

    def hearing(self, sender: Any, named: dict[str, Any]) -> Iterator[Receiver]:
        """The durable receivers that are to hear of this, each once."""
        seen = set()
        for connection in self._durable:
            name = connection.receiver.name
            if name in seen or not connection.is_for(sender):
                continue
            if connection.when is None or connection.when(sender, **named):
                seen.add(name)
                yield connection.receiver


_signals: weakref.WeakSet[AsyncSignal] = weakref.WeakSet()


def all_signals() -> list[AsyncSignal]:
    """The signals of this process that have a name, by name."""
    named = []
    for each in list(_signals):
        try:
            named.append((each.name, id(each), each))
        except ImproperlyConfigured:
            continue  # a local signal, which can have no durable receivers
    return [each for _, _, each in sorted(named)]


def _work_off(name: str, ids: object, database: object) -> Report:
    """The body of every receiver's task; imported late for the reason above."""
    from signal_tasks import delivery

    return delivery.work_off(name, ids, database)
