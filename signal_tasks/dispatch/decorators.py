"""The decorators that connect receivers: ``receiver`` and ``async_receiver``.

``receiver`` is Django's, for people whose tools check types; ``async_receiver`` connects
durable receivers to signals that are not ours, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, Unpack, overload

import django.dispatch
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import ModelSignal
from django.db.models.utils import make_model_tuple
from django.dispatch import Signal

from signal_tasks.dispatch.foreign import SNAPSHOT
from signal_tasks.dispatch.forms import Form, refuse_missing
from signal_tasks.dispatch.forwarding import Forwarder, forwarded_signal
from signal_tasks.dispatch.references import ConnectionKey
from signal_tasks.dispatch.signal import AsyncSignal
from signal_tasks.registry.naming import (
    ReceiverFunction,
    foreign_signal_names,
    receiver_name,
)
from signal_tasks.registry.options import ConnectOptions, DjangoOptions, DurableOptions

F = TypeVar("F", bound=ReceiverFunction)


@overload
def receiver(
    signal: AsyncSignal | Sequence[AsyncSignal],
    sender: object = None,
    **options: Unpack[ConnectOptions],
) -> Callable[[F], F]: ...


@overload
def receiver(
    signal: Signal | Sequence[Signal],
    sender: object = None,
    **options: Unpack[DjangoOptions],
) -> Callable[[F], F]: ...


def receiver(
    signal: Signal | Sequence[Signal], sender: object = None, **options: Any
) -> Callable[[F], F]:
    """Connect a receiver to a signal, or to each of several.

    Does what ``django.dispatch.receiver`` does, which takes any keyword. Here mypy and
    pyright know the options of ``AsyncSignal.connect``, and see a misspelt one.

    Raises:
        ImproperlyConfigured, TypeError, ValueError: as ``AsyncSignal.connect``; and for
            an option of durable receivers of a signal that is not ours.
    """
    given = [signal] if isinstance(signal, Signal) else list(signal)
    for each in given:
        if not isinstance(each, AsyncSignal):
            _refuse_durable(each, options)
    connect: Callable[[F], F] = django.dispatch.receiver(
        given,
        sender=sender,
        **options,
    )
    return connect


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
    the database that the signal names in its keyword ``using``, if it does. A
    ``using`` that is no alias, and ``raw``, mean nothing in a signal that is not
    Django's about models.

    Django's ``disconnect()`` ends it, with the function, or with a ``dispatch_uid``: the
    one that was given, or the receiver's name. While it is connected, Django takes the
    same function for connected, and does not connect it inline, too.

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
            durable = forwarded_signal(each)
            form = Form(
                exclude=excluded,
                snapshot=snapshot or durable.name in SNAPSHOT,
                raw=raw,
            )
            refuse_missing(function, form)
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
    uid = ConnectionKey(name, function, options.get("dispatch_uid"))
    forwarder.durable.attach(uid, forwarder, function, sender, options)
    while foreign.disconnect(sender=sender, dispatch_uid=uid):
        pass  # an older one of the name; one of the function, whose place it took
    foreign.connect(forwarder, sender=sender, weak=False, dispatch_uid=uid)
    uid.is_connected = True


def _refuse_durable(signal: Signal, options: Mapping[str, Any]) -> None:
    """Refuse options of durable receivers that the signal's ``connect`` does not take."""
    taken = inspect.signature(signal.connect).parameters
    if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        return
    ours = options.keys() & ConnectOptions.__annotations__.keys() - taken.keys()
    if not ours:
        return
    shown = repr(signal)
    with suppress(ImproperlyConfigured):
        shown = foreign_signal_names(signal)[0]
    raise ImproperlyConfigured(
        f"{shown} is no AsyncSignal, so receiver() connects inline receivers to it, for "
        f"which {', '.join(sorted(ours))} would mean nothing. Connect a durable one with "
        "@async_receiver, which takes the same options."
    )


def _refuse_options(signal: AsyncSignal, **options: object) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise ImproperlyConfigured(
            f"{signal.name} is an AsyncSignal, whose sender decides what travels: "
            f"{', '.join(given)} would mean nothing here."
        )
