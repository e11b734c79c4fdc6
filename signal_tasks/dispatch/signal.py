"""``AsyncSignal``: a Django signal whose receivers run later, elsewhere, durably.

Inline receivers are left to Django's ``Signal``; sending to durable ones means
writing to the outbox.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured

from signal_tasks.dispatch.connection import (
    Connection,
    Connections,
    Predicate,
    check,
    key_of,
    refuse_durable_options,
)
from signal_tasks.dispatch.passing import PassesOn
from signal_tasks.dispatch.references import (
    calling_module,
    receiver_reference,
    weak_reference,
)
from signal_tasks.dispatch.sending import BoundSignal, SendPaths
from signal_tasks.outbox.handles import Responses
from signal_tasks.outbox.options import DAY, PLAIN, Dedupe, OnDuplicate, SendOptions
from signal_tasks.outbox.ordering import KeyFunction
from signal_tasks.registry.naming import (
    ReceiverFunction,
    as_arguments,
    as_names,
    receiver_name,
    signal_name,
)
from signal_tasks.registry.options import (
    Breaker,
    Coalesce,
    OnDead,
    OnMissing,
    Options,
)
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.registry.settled import settled_signals
from signal_tasks.retry import RetryPolicy


class AsyncSignal(SendPaths):
    """A signal whose receivers run later, elsewhere, durably (not asyncio).

    ``send()`` writes an event and one delivery for each connected receiver into the
    database, in the caller's transaction; after the commit a Celery worker runs
    each. Receivers connected with ``inline=True`` behave exactly as Django's.

    Args:
        use_caching: as in Django; for inline receivers.
        name: the name under which events are stored; by default ``module.attribute``
            of the signal, found when first needed. ``ImproperlyConfigured`` is raised
            then for a signal that no module holds.
        aliases: its former names, under which events may still be stored.
        key: function of ``sender`` and keywords that returns the key of a send for
            ordered receivers, as ``using(key=...)`` takes it; None leaves it to the
            subject. Called only if a receiver is ordered.
        sensitive: names of arguments (``"sender"`` is one) whose values are shown
            nowhere: ``(redacted)`` stands in their place. They are no default subject.

    Raises:
        TypeError: ``key`` is no function, or a sensitive name is no string.
    """

    _settled: SettledSignal | None = None

    def __init__(
        self,
        use_caching: bool = False,
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
        key: KeyFunction | None = None,
        sensitive: Iterable[str] = (),
    ) -> None:
        super().__init__(use_caching)
        if key is not None and not callable(key):
            raise TypeError(f"AsyncSignal: key is {key!r}; give a function")
        self._key = key
        self.sensitive = as_arguments(sensitive)
        self._given_name = name
        self._aliases = as_names(aliases)
        self._module = calling_module(self) if name is None else ""
        self._durable = Connections(self)
        _signals.add(self)

    @property
    def name(self) -> str:
        """The stable name; ``ImproperlyConfigured`` is raised if there is none."""
        if self._given_name is None:
            self._given_name = signal_name(self, self._module)
        return self._given_name

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the former ones."""
        return (self.name, *self._aliases)

    @property
    def settled(self) -> AsyncSignal:
        """The signal that is sent when the last delivery of an event has finished.

        Durably, once, in the context of the event and caused by it; again after a replay.
        Receivers get what those of the event have got, and ``event_id`` and ``outcomes``:
        the state of each delivery by its receiver's name. It costs nothing where nobody
        hears it.

        Raises:
            ImproperlyConfigured: the signal has no name, or is such a one itself.
        """
        with _making_settled:
            if self._settled is None:
                self._settled = SettledSignal(self, self._key)
                settled_signals.add(self.names, self._settled)
            return self._settled

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__}: {self.name}>"
        except ImproperlyConfigured:
            return super().__repr__()

    @property
    def durable_connections(self) -> tuple[Connection, ...]:
        """The connections of durable receivers that exist."""
        return self._durable.live

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
        rate_limit: str | int | float | None = None,
        on_missing: OnMissing = "reject",
        when: Predicate | None = None,
        group_commit: bool = True,
        max_concurrency: int | None = None,
        breaker: Breaker | None = None,
        ordered: bool = False,
        on_dead: OnDead = "block",
        coalesce: Coalesce | None = None,
        batch: int | None = None,
    ) -> None:
        """Connect a receiver; durable, unless ``inline=True`` leaves it to Django.

        Touches no database. ``django.dispatch.receiver`` hands its keywords to here.

        Args:
            receiver: a function, or coroutine function, of ``sender`` and keywords;
                it has to accept ``**kwargs``.
            sender: hear of this sender alone, by identity, in the sending process.
            weak: do not keep the receiver alive; False for what no module holds, such
                as partials and functions inside of functions.
            dispatch_uid: what tells connections apart, as in Django; if it is a
                string, also the receiver's name.
            inline: leave the receiver to Django: it runs in the sender's process and
                transaction, and its exceptions propagate from ``send()``.
            name: stable name of the receiver and of its Celery task; by default
                ``dispatch_uid``, else ``module.qualname``.
            aliases: former names, the oldest first, under which deliveries may still
                be pending.
            queue: Celery queue; by default ``SIGNAL_TASKS["QUEUE"]``, else as Celery
                routes a task of that name.
            atomic: run in one transaction with the delivery's finish, on the event's
                database; ``False`` runs outside of any transaction.
            retry: policy; by default ``SIGNAL_TASKS["RETRY"]``.
            timeout: seconds; becomes Celery's soft time limit, the hard one is 5 s
                later. The lease is 10 s longer than it.
            rate_limit: deliveries that all workers together may start: a number per
                second, or text such as ``"100/m"``.
            max_concurrency: deliveries that all workers together may run at a time.
            breaker: leave the receiver alone after consecutive failures.
            on_missing: what to do when a row that the payload refers to is gone:
                ``"reject"`` makes a dead letter, ``"skip"`` discards, ``"none"``
                hands over None.
            when: function of ``sender`` and keywords, called in ``send()``; where it
                is false there is no delivery. Its exceptions propagate.
            group_commit: atomic deliveries of this receiver may share a commit.
            ordered: run the deliveries of a key one at a time, in commit order; see
                ``using(key=...)``.
            on_dead: what a dead letter does to those behind it: ``"block"`` or
                ``"skip"``.
            coalesce: merge sends into one delivery.
            batch: call the receiver for up to so many deliveries at a time, as
                ``receiver(batch, **kwargs)``: ``batch`` holds a ``BatchItem`` for each.
                It returns those that have succeeded, or an answer for each.

        Raises:
            ImproperlyConfigured: for a receiver that has no stable name, a name that
                is taken, a weak partial, or options that make no sense.
            TypeError: the receiver cannot be called.
            ValueError: the receiver does not accept ``**kwargs``.
        """
        options = Options(
            queue=queue,
            atomic=atomic,
            retry=retry,
            timeout=timeout,
            rate_limit=rate_limit,
            max_concurrency=max_concurrency,
            breaker=breaker,
            on_missing=on_missing,
            group_commit=group_commit,
            ordered=ordered,
            on_dead=on_dead,
            coalesce=coalesce,
            batch=batch,
        )
        former = as_names(aliases)
        if inline:
            refuse_durable_options(
                receiver, options, name=name, aliases=former, when=when
            )
            super().connect(receiver, sender, weak, dispatch_uid)
            return
        check(receiver, options, when)
        name = receiver_name(receiver, name, dispatch_uid)
        gone = registry.note_gone(name)
        durable = Receiver(
            name=name,
            aliases=former,
            options=options,
            function=receiver_reference(receiver, weak=weak, gone=gone),
        )
        key = key_of(receiver, sender, dispatch_uid)
        self._register_names()
        self._durable.add(Connection(key, durable, weak_reference(sender), when))

    def _register_names(self) -> None:
        """Register the signal that receivers get, under its names."""
        for name in self.names:
            registry.add_signal(name, self)

    def disconnect(
        self,
        receiver: ReceiverFunction | None = None,
        sender: object = None,
        dispatch_uid: Any = None,
    ) -> bool:
        """Disconnect a durable or inline receiver; return True if there was one.

        By the receiver or its ``dispatch_uid``, and the sender it was connected for.
        Its pending deliveries become orphans, until a process that knows it runs them.
        """
        durable = self._durable.remove(key_of(receiver, sender, dispatch_uid))
        inline = super().disconnect(receiver, sender, dispatch_uid)
        return durable or inline

    def has_listeners(self, sender: object = None) -> bool:
        """Return True if an inline or durable receiver would hear this sender."""
        durable = self._durable.first_match(sender) is not None
        return durable or super().has_listeners(sender)

    # -- for relays that deliver past events ---------------------------------------

    def shares_events(self, receiver: str) -> bool:
        """Return True: each send leaves one event for all durable receivers."""
        return True

    def would_deliver(
        self, receiver: str, sender: object, named: Mapping[str, Any]
    ) -> bool:
        """Return True if a send that was stored would be delivered to the receiver.

        ``when`` is called, and its exceptions propagate.
        """
        return any(
            each.matches_stored(sender) and each.accepts(sender, named)
            for each in self.durable_connections
            if each.receiver.name == receiver
        )

    # -- sending ------------------------------------------------------------------

    def send(self, sender: Any, **named: Any) -> Responses:
        """Call inline receivers now; write the event for durable ones.

        Runs in the caller's transaction, or in one of its own; never waits for the
        broker. When an inline receiver raises, the exception propagates, and nothing
        is written.

        Args:
            sender: None, a string, a class, a model class, or a model instance.
            named: the arguments of the receivers. Model instances travel by reference.

        Returns:
            Pairs of receiver and response: what an inline receiver returned, or a
            ``DeliveryHandle`` for a durable one.

        Raises:
            PayloadError: a value cannot travel, or there is too much of it; before
                anything is called or written, so the transaction stays usable.
            ValueError, TypeError: a receiver is ordered, and the send has no key.
            ImproperlyConfigured: the signal has no name.
        """
        return self._send(sender, named, PLAIN)

    def send_robust(self, sender: Any, **named: Any) -> Responses:
        """Send as ``send`` does; an inline receiver's exception becomes its response.

        The event is written first, so no inline receiver can keep it from durable
        ones. When one leaves the transaction broken, what the inline receivers wrote
        is undone.
        """
        return self._send_robust(sender, named, PLAIN)

    async def asend(self, sender: Any, **named: Any) -> Responses:
        """Send as ``send`` does, from async code.

        Django has no transactions in async code: the event is a transaction of its
        own, unless the whole is called from a synchronous ``atomic()`` block.
        """
        return await self._asend(sender, named, PLAIN)

    async def asend_robust(self, sender: Any, **named: Any) -> Responses:
        """Send as ``send_robust`` does, from async code."""
        return await self._asend_robust(sender, named, PLAIN)

    def send_many(
        self, sender: Any, items: Iterable[Mapping[str, Any]]
    ) -> list[uuid.UUID]:
        """Send one event for each mapping of keywords.

        A constant number of statements per thousand events. Everything is encoded
        before anything is written, and all of it is one transaction.

        Returns:
            The ids of the events that were written; none for an item that no durable
            receiver gets.

        Raises:
            PayloadError: as ``send``; nothing of any item is written then.
        """
        return self._send_many(sender, items, PLAIN)

    def using(  # noqa: PLR0913 - one keyword per option
        self,
        *,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
        database: str | None = None,
        headers: Mapping[str, Any] | None = None,
        subject: Any = None,
        key: Any = None,
        dedupe_key: Any = None,
        dedupe_for: float | timedelta = DAY,
        on_duplicate: OnDuplicate = "skip",
    ) -> BoundSignal:
        """Return the same send methods with options for the durable deliveries.

        They do not call a ``send()`` that a subclass overrides.

        Args:
            delay: seconds or a timedelta; no delivery runs earlier, by the
                database's clock.
            at: an aware datetime; the same.
            database: alias whose transaction the event belongs to.
            headers: JSON values that receivers find in ``current_delivery()``.
            subject: the object that the event is about, to find it by: a saved model
                instance, or a string of at most 255 characters. By default the sender
                if it is a model instance, else the only one among the arguments; ``""``
                for none.
            key: a str, int, UUID or model instance; each ordered receiver runs the
                deliveries of a key one at a time, in the order of the commits. By
                default that of the signal, else the subject.
            dedupe_key: a str, int, UUID or model instance. While the signal was sent
                under it already, in this database, a send does nothing. None is no
                key: each send is the first.
            dedupe_for: seconds or a timedelta; how long that holds after a send, by
                default a day.
            on_duplicate: what a send returns then: the handles of the first event's
                deliveries (``"skip"``), or nothing: it raises ``DuplicateEvent``
                (``"raise"``).

        Raises:
            TypeError, ValueError: for a naive datetime, one more than a hundred years
                away, both of ``delay`` and ``at``, headers that are not JSON, a
                subject or a key that is of another type, too long, empty or not saved,
                or options of a ``dedupe_key`` without one.
        """
        options = SendOptions.checked(
            delay=delay,
            at=at,
            database=database,
            headers=headers,
            subject=subject,
            key=key,
            dedupe=Dedupe.checked(dedupe_key, dedupe_for, on_duplicate),
        )
        return BoundSignal(self, options)


class SettledSignal(AsyncSignal, PassesOn):
    """The signal ``settled`` of another one."""

    def __init__(self, of: AsyncSignal, key: KeyFunction | None) -> None:
        """Make it, with a name made of the other one's."""
        super().__init__(
            name=f"{of.name}.settled",
            aliases=[f"{alias}.settled" for alias in of.names[1:]],
            key=key,
            sensitive=of.sensitive,
        )

    def _prepare(
        self, sender: Any, named: dict[str, Any], options: SendOptions
    ) -> NoReturn:
        """Raise ``ImproperlyConfigured``: nobody sends it by hand.

        Its receivers would miss the event that has settled. See ``pass_on``.
        """
        of = self.name.removesuffix(".settled")
        raise ImproperlyConfigured(
            f"{self.name} is sent by itself when the deliveries of an event of {of} have "
            f"finished, with event_id= and outcomes=. Send {of}; in a test, call "
            "run_pending() after it."
        )

    @property
    def settled(self) -> AsyncSignal:
        """Raise ``ImproperlyConfigured``: it would go on without end."""
        raise ImproperlyConfigured(
            f"{self.name} has no settled of its own. Connect another receiver to "
            f"{self.name}, or have one of its receivers send a signal."
        )


_making_settled = threading.Lock()
_signals: weakref.WeakSet[AsyncSignal] = weakref.WeakSet()


def all_signals() -> list[AsyncSignal]:
    """Return the signals of this process that have a name, by name."""
    named = []
    for each in list(_signals):
        try:
            named.append((each.name, id(each), each))
        except ImproperlyConfigured:
            continue  # a local signal, which can have no durable receivers
    return [each for _, _, each in sorted(named)]
