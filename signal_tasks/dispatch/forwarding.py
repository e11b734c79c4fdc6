"""Forward signals that are not ours, Django's included, to durable receivers.

``async_receiver`` connects them. Such a signal is heard inline, in the sender's transaction, and written to the outbox
there and then; its receivers run later like any other.

# Note [Robust]
Django tells no receiver whether ``send`` or ``send_robust`` called it, and after
``send_robust`` the sender goes on in its transaction. So whatever can go wrong has to
go wrong before a statement fails: values are encoded, the database is chosen and the
context is captured before anything is written, and rows that no worker could read are
not inserted, without an error (Note [Schemas]). What is left is a table that is
missing or may not be written. That shows in the first write of a process: it stands in
a savepoint, and so does the one after a failure. Others have none, since a savepoint
in each ``save()`` of a long transaction is dear.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from django.db import Error, connections, transaction
from django.db.models import Model
from django.db.models.signals import ModelSignal
from django.dispatch import Signal

from signal_tasks import signals
from signal_tasks.codec import can_travel
from signal_tasks.db.aliases import alias_for
from signal_tasks.dispatch.connection import Connection, key_of
from signal_tasks.dispatch.foreign import USUAL, refuse_meaningless
from signal_tasks.dispatch.forms import Form, advice
from signal_tasks.dispatch.references import ConnectionKey
from signal_tasks.dispatch.signal import AsyncSignal
from signal_tasks.exceptions import PayloadError
from signal_tasks.outbox.causes import check_repetition
from signal_tasks.outbox.merge import coalesce_keys
from signal_tasks.outbox.options import SendOptions
from signal_tasks.outbox.write import EncodedEvent, prepare, write
from signal_tasks.registry.naming import (
    ReceiverFunction,
    foreign_signal_names,
    qualname_of,
)
from signal_tasks.registry.options import DurableOptions
from signal_tasks.registry.registry import Receiver, registry


class Forwarder:
    """The inline receiver of a foreign signal, for one durable receiver."""

    def __init__(
        self, durable: ForwardedSignal, form: Form, function: ReceiverFunction
    ) -> None:
        self.durable = durable
        self.form = form
        self.key: object = None
        # Django's log of a failure and tools for debugging name receivers by these.
        self.__module__ = str(getattr(function, "__module__", ""))
        self.__name__ = self.__qualname__ = qualname_of(function)

    def __call__(self, signal: Signal, sender: Any, **named: Any) -> None:
        """Forward the send, if this is the first forwarder that hears it."""
        if not _is_from_outbox(sender) and not _is_historical(sender):
            self.durable.forward(self.key, sender, named)


class ForwardedSignal(AsyncSignal):
    """The durable side of a foreign signal: one event a send for all its receivers.

    Receivers whose keywords travel in different forms get an event for each form.
    """

    def __init__(self, foreign: Signal) -> None:
        name, *others = foreign_signal_names(foreign)
        refuse_meaningless(name)
        super().__init__(name=name, aliases=others)
        self._foreign = weakref.ref(foreign)
        self._is_of_models = isinstance(foreign, ModelSignal)
        self._forms: dict[object, Form] = {}

    def _register_names(self) -> None:
        """Register the foreign signal as the one that receivers get."""
        foreign = self._foreign()
        for name in self.names:
            if foreign is not None:
                registry.add_signal(name, foreign)

    def attach(
        self,
        uid: ConnectionKey,
        forwarder: Forwarder,
        function: ReceiverFunction,
        sender: Any,
        options: DurableOptions,
    ) -> None:
        """Connect a durable receiver for as long as the key of its forwarder exists."""
        self.connect(function, sender=sender, **options)
        key = key_of(function, sender, options.get("dispatch_uid"))
        forwarder.key = key
        self._forms[key] = forwarder.form
        connection = self._durable.find(key)
        if connection is not None:
            weakref.finalize(uid, self._detach, connection).atexit = False

    def _detach(self, connection: Connection) -> None:
        """Remove a connection, unless another one has replaced it."""
        if self._durable.find(connection.key) is connection:
            self._durable.remove(connection.key)
            self._forms.pop(connection.key, None)

    def forward(self, caller: object, sender: Any, named: dict[str, Any]) -> None:
        """Write the send for every receiver that hears it.

        Django calls each forwarder that hears the sender; the first of them acts.
        """
        first = self._durable.first_match(sender)
        if first is None or first.key != caller:
            return
        by_form: dict[Form, list[Receiver]] = {}
        is_raw = self._is_raw(named)
        for each in self._durable.connections_for(
            sender, named, lambda each: not is_raw or self._forms[each.key].raw
        ):
            by_form.setdefault(self._forms[each.key], []).append(each.receiver)
        events = [self._encoded(sender, named, *each) for each in by_form.items()]
        if events:
            _write(events)

    def _encoded(
        self, sender: Any, named: dict[str, Any], form: Form, receivers: list[Receiver]
    ) -> EncodedEvent:
        kwargs = form.apply(named)
        alias = self._alias(sender, named)
        options = SendOptions(database=alias, snapshot=form.snapshot)
        keys = coalesce_keys(receivers, sender, named)
        travelling = (form.sender(sender), kwargs)
        try:
            event = prepare(self.name, *travelling, receivers, options, keys)
        except PayloadError as error:
            error.hint = advice(error, {**kwargs, "sender": sender}, form, receivers)
            raise
        names = [receiver.name for receiver in receivers]
        check_repetition(self.name, event.subject, names)
        details = signals.SignalSending(signal=self, sender=sender, kwargs=kwargs)
        signals.signal_sending.send(self, details=details)
        return event

    def _is_raw(self, named: Mapping[str, Any]) -> bool:
        """Return True for a row that ``loaddata`` loads, of which model signals tell."""
        return self._is_of_models and named.get("raw") is True

    def _alias(self, sender: Any, named: Mapping[str, Any]) -> str | None:
        """Return the alias that ``using`` names, or that of a row as the sender.

        In signals of other packages ``using`` may mean anything, or be an alias, too.
        """
        using = named.get("using")
        if isinstance(using, str) and (self._is_of_models or using in connections):
            return using
        return alias_for(None, sender) if isinstance(sender, Model) else None

    def shares_events(self, receiver: str) -> bool:
        """Return True if all that hear its senders get keywords in the same form."""
        connections = self.durable_connections
        senders = {
            each.key[1] for each in connections if each.receiver.name == receiver
        }
        heard = {None, *senders}
        forms = {
            self._forms[each.key]
            for each in connections
            if None in senders or each.key[1] in heard
        }
        return len(forms) <= 1

    def would_deliver(
        self, receiver: str, sender: object, named: Mapping[str, Any]
    ) -> bool:
        """See ``AsyncSignal``; raw sends only to receivers that hear them."""
        if self._is_raw(named) and not self._hears_raw(receiver):
            return False
        return super().would_deliver(receiver, sender, named)

    def _hears_raw(self, receiver: str) -> bool:
        return any(
            self._forms[each.key].raw
            for each in self.durable_connections
            if each.receiver.name == receiver
        )

    def unfit(self) -> Iterator[tuple[Receiver, str]]:
        """Yield each receiver, and each usual argument that cannot travel to it."""
        for name, kind in USUAL.get(self.name, {}).items():
            for each in self._durable.live:
                excluded = name in self._forms[each.key].exclude
                if not excluded and not can_travel(kind):
                    yield each.receiver, name


#: The databases to which this process has written forwarded events: Note [Robust].
_proven: set[str] = set()


def _write(events: Sequence[EncodedEvent]) -> None:
    database = events[0].database
    in_block = connections[database].in_atomic_block
    in_doubt = in_block and database not in _proven
    try:
        with transaction.atomic(using=database) if in_doubt else nullcontext():
            write(events)
    except Error:
        _proven.discard(database)
        raise
    _proven.add(database)


#: The durable side of each foreign signal, for as long as forwarders keep it alive.
_forwarded: weakref.WeakKeyDictionary[Signal, weakref.ref[ForwardedSignal]] = (
    weakref.WeakKeyDictionary()
)


def forwarded_signal(foreign: Signal) -> ForwardedSignal:
    """Return the durable side of a foreign signal; make it if there is none yet."""
    durable = known_forwarded(foreign)
    if durable is None:
        durable = ForwardedSignal(foreign)
        _forwarded[foreign] = weakref.ref(durable)
    return durable


def known_forwarded(foreign: Signal) -> ForwardedSignal | None:
    """Return the durable side of a foreign signal, if it has one."""
    reference = _forwarded.get(foreign)
    return reference() if reference is not None else None


def _is_from_outbox(sender: Any) -> bool:
    """Return True for models of the outbox, whose every change would make another."""
    meta = getattr(sender, "_meta", None)
    return getattr(meta, "app_label", None) == "signal_tasks"


def _is_historical(sender: Any) -> bool:
    """Return True for a model that a migration made for itself: no worker has it."""
    return getattr(sender, "__module__", None) == "__fake__"
