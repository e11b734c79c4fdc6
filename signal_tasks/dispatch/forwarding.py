"""Connect durable receivers to signals that are not ours, Django's included.

Such a signal is heard inline, in the sender's transaction, and written to the outbox
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

import inspect
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, Unpack

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections, transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import ModelSignal
from django.db.models.utils import make_model_tuple
from django.dispatch import Signal
from django.http import HttpRequest

from signal_tasks import signals
from signal_tasks.codec import Snapshot, can_travel
from signal_tasks.db.aliases import alias_for
from signal_tasks.dispatch.connection import Connection, key_of
from signal_tasks.dispatch.signal import AsyncSignal
from signal_tasks.exceptions import PayloadError
from signal_tasks.outbox.causes import check_repetition
from signal_tasks.outbox.merge import coalesce_keys
from signal_tasks.outbox.options import SendOptions
from signal_tasks.outbox.write import EncodedEvent, prepare, write
from signal_tasks.registry.naming import (
    ReceiverFunction,
    foreign_signal_names,
    name_of,
    origin,
    qualname_of,
    receiver_name,
)
from signal_tasks.registry.options import DurableOptions
from signal_tasks.registry.registry import Receiver, registry

F = TypeVar("F", bound=ReceiverFunction)

#: Django's signals that have no durable meaning, with the reason and the way out.
REFUSED = {
    "pre_init": "it tells of an object in memory; use post_save",
    "post_init": "it tells of an object in memory; use post_save",
    "pre_save": "what it tells of may not happen; use post_save",
    "pre_delete": "what it tells of may not happen; use post_delete, whose "
    "instance travels as a snapshot",
    "pre_migrate": "what it tells of may not happen; use post_migrate, inline",
    "post_migrate": "its sender, an AppConfig, cannot travel; connect it inline",
    "class_prepared": "it is sent while the apps are loaded, before any database",
    "request_started": "it belongs to one process and request; connect it inline",
    "request_finished": "it belongs to one process and request, and nothing is "
    "committed with it; connect it inline, or send a signal of your own in the view",
    "got_request_exception": "its transaction is rolled back, and with it the "
    "delivery; connect it inline",
    "connection_created": "it belongs to one process; connect it inline",
    "setting_changed": "it belongs to one test process; connect it inline",
    "template_rendered": "it belongs to one test process; connect it inline",
}
#: Arguments that signals of Django always have, and that need not be able to travel.
USUAL: dict[str, dict[str, type]] = {
    f"django.contrib.auth.signals.{name}": {"request": HttpRequest}
    for name in ("user_logged_in", "user_logged_out", "user_login_failed")
}
#: Senders that are code, and no data.
CODE = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.ModuleType,
)
#: Signals whose instances no longer exist when a receiver runs.
SNAPSHOT = frozenset({"django.db.models.signals.post_delete"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form in which a foreign signal's keywords travel to a receiver."""

    exclude: frozenset[str]
    snapshot: bool
    raw: bool

    def sender(self, sender: Any) -> Any:
        """Return the sender that travels.

        None, strings, classes and rows do as they are, functions and modules by their
        name. Any other object is a service or a view that no worker has: its class.
        """
        if "sender" in self.exclude:
            return None
        if isinstance(sender, CODE):
            return name_of(sender)
        if sender is None or isinstance(sender, str | type | Model):
            return _frozen(sender) if self.snapshot else sender
        return sender.__class__

    def apply(self, named: dict[str, Any]) -> dict[str, Any]:
        """Return the keywords that travel."""
        kept = {key: named[key] for key in named if key not in self.exclude}
        if isinstance(kept.get("origin"), QuerySet):
            kept["origin"] = None  # post_delete names the QuerySet that deletes
        if self.snapshot:
            return {key: _frozen(value) for key, value in kept.items()}
        return kept


class ConnectionKey(str):
    """The ``dispatch_uid`` of a forwarder, which the foreign signal alone holds.

    It ends with Django's connection, and so does the durable one. The forwarder would
    not do: a traceback may keep that alive, and while the durable connection outlives
    Django's, nobody forwards for those that come after it.
    """

    __slots__ = ("__weakref__",)


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
        _refuse_meaningless(name)
        super().__init__(name=name, aliases=others)
        self._foreign = weakref.ref(foreign)
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
        is_raw = named.get("raw") is True
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
        options = SendOptions(database=_alias(sender, named))
        keys = coalesce_keys(receivers, sender, named)
        travelling = (form.sender(sender), kwargs)
        try:
            event = prepare(self.name, *travelling, receivers, options, keys)
        except PayloadError as error:
            error.hint = _advice(error, {**kwargs, "sender": sender}, form, receivers)
            raise
        names = [receiver.name for receiver in receivers]
        check_repetition(self.name, event.subject, names)
        details = signals.SignalSending(signal=self, sender=sender, kwargs=kwargs)
        signals.signal_sending.send(self, details=details)
        return event

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
        if named.get("raw") is True and not self._hears_raw(receiver):
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


def _advice(
    error: PayloadError, values: dict[str, Any], form: Form, receivers: list[Receiver]
) -> str:
    """Return the ways that whoever connected the receivers has to avoid an error."""
    named = error.argument
    ways = [f"exclude=[{named!r}]"] if named else []
    if isinstance(values.get(named), Model) and not form.snapshot:
        ways.append("snapshot=True")
    ways.append("django.dispatch.receiver, which hears it here and now")
    heard = ", ".join(_where(receiver) for receiver in receivers)
    return f"this is for {heard}: connect it with {', or with '.join(ways)}"


def _where(receiver: Receiver) -> str:
    """Return the name of a receiver, with the file and line of its function."""
    function = inspect.unwrap(receiver.function() or _where)
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{receiver.name}{place}"


#: The durable side of each foreign signal, for as long as forwarders keep it alive.
_forwarded: weakref.WeakKeyDictionary[Signal, weakref.ref[ForwardedSignal]] = (
    weakref.WeakKeyDictionary()
)


def _forwarded_signal(foreign: Signal) -> ForwardedSignal:
    reference = _forwarded.get(foreign)
    durable = reference() if reference is not None else None
    if durable is None:
        durable = ForwardedSignal(foreign)
        _forwarded[foreign] = weakref.ref(durable)
    return durable


def async_receiver(
    signal: Signal | Iterable[Signal],
    sender: Any = None,
    *,
    exclude: Iterable[str] = (),
    snapshot: bool = False,
    raw: bool = False,
    **connect_options: Unpack[DurableOptions],
) -> Callable[[F], F]:
    """Connect a durable receiver to any signal, or to each of several.

    For an ``AsyncSignal`` the same as ``django.dispatch.receiver``. For another
    signal the event is written in the transaction in which that signal is sent, on
    the database that the signal names in its keyword ``using``, if it does.

    Args:
        signal: one, or several.
        sender: hear this sender alone, as in Django; a model may be named by its label.
        exclude: keywords of the signal that cannot travel, such as ``request``; with
            ``sender`` in it the receiver gets None as its sender. A sender that is no
            class, row or string arrives as its class, a function as its name.
        snapshot: model instances travel as they are instead of by reference;
            ``post_delete`` always does so.
        raw: hear rows that ``loaddata`` loads, too.
        connect_options: as for ``AsyncSignal.connect``, without ``inline``.

    Raises:
        ImproperlyConfigured: for a signal that has no durable meaning, with the
            reason and what to use instead; else as ``AsyncSignal.connect``.
    """
    given = [signal] if isinstance(signal, Signal) else list(signal)
    excluded = frozenset([exclude] if isinstance(exclude, str) else exclude)

    def decorate(function: F) -> F:
        for each in given:
            if isinstance(each, AsyncSignal):
                _refuse_options(each, exclude=excluded, snapshot=snapshot, raw=raw)
                each.connect(function, sender=sender, **connect_options)
                continue
            durable = _forwarded_signal(each)
            form = Form(
                exclude=excluded,
                snapshot=snapshot or durable.name in SNAPSHOT,
                raw=raw,
            )
            _refuse_missing(function, form)
            forwarder = Forwarder(durable, form, function)
            _connect(each, sender, function, forwarder, connect_options)
        return function

    return decorate


def _connect(
    foreign: Signal,
    sender: Any,
    function: ReceiverFunction,
    forwarder: Forwarder,
    options: DurableOptions,
) -> None:
    """Connect the durable receiver, then its forwarder in the place of an older one."""
    if options.get("inline"):
        raise ImproperlyConfigured(
            "async_receiver() connects durable receivers; for an inline one use "
            "django.dispatch.receiver."
        )
    name = receiver_name(function, options.get("name"), options.get("dispatch_uid"))
    connect = partial(_connect_to, name, foreign, forwarder, function, options)
    if isinstance(sender, str) and isinstance(foreign, ModelSignal):
        apps.lazy_model_operation(connect, make_model_tuple(sender))
    else:
        connect(sender)


def _connect_to(
    name: str,
    foreign: Signal,
    forwarder: Forwarder,
    function: ReceiverFunction,
    options: DurableOptions,
    sender: Any,
) -> None:
    uid = ConnectionKey(name)
    forwarder.durable.attach(uid, forwarder, function, sender, options)
    foreign.disconnect(sender=sender, dispatch_uid=name)
    foreign.connect(forwarder, sender=sender, weak=False, dispatch_uid=uid)


def _refuse_options(signal: AsyncSignal, **options: object) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise ImproperlyConfigured(
            f"{signal.name} is an AsyncSignal, whose sender decides what travels: "
            f"{', '.join(given)} would mean nothing here."
        )


def _refuse_missing(function: ReceiverFunction, form: Form) -> None:
    """Refuse a receiver that cannot be called without what is excluded."""
    for name, parameter in inspect.signature(function).parameters.items():
        is_required = parameter.default is parameter.empty
        if name in form.exclude - {"sender"} and is_required:
            raise ImproperlyConfigured(
                f"{origin(function)} cannot be called without {name!r}, which its "
                f"exclude= keeps back; remove it from the one or the other."
            )


def _refuse_meaningless(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    reason = REFUSED.get(attribute) if module.startswith("django.") else None
    if reason is None and attribute.startswith("pre_"):
        reason = "what it tells of may not happen; use its post_ counterpart"
    if reason is not None:
        raise ImproperlyConfigured(
            f"{name} cannot have durable receivers: {reason}. For an inline receiver "
            "use django.dispatch.receiver."
        )


def _is_from_outbox(sender: Any) -> bool:
    """Return True for models of the outbox, whose every change would make another."""
    meta = getattr(sender, "_meta", None)
    return getattr(meta, "app_label", None) == "signal_tasks"


def _is_historical(sender: Any) -> bool:
    """Return True for a model that a migration made for itself: no worker has it."""
    return getattr(sender, "__module__", None) == "__fake__"


def _frozen(value: Any) -> Any:
    return Snapshot(value) if isinstance(value, Model) else value


def _alias(sender: Any, named: dict[str, Any]) -> str | None:
    """Return the alias that model signals name in ``using``, or that of the sender."""
    using = named.get("using")
    if isinstance(using, str):
        return using
    return alias_for(None, sender) if isinstance(sender, Model) else None
