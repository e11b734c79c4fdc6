"""``async_receiver``: durable receivers of any Django signal.

A signal that is not ours is heard inline, in the sender's transaction, and written
to the outbox there and then; its receiver runs later like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model, QuerySet
from django.dispatch import Signal

from signal_tasks.codec import Snapshot
from signal_tasks.dispatch import AsyncSignal
from signal_tasks.registry import (
    ReceiverFunction,
    foreign_signal_names,
    receiver_name,
)

F = TypeVar("F", bound=ReceiverFunction)

#: Django's signals that have no durable meaning, with the reason and the way out.
REFUSED = {
    "pre_init": "it announces an object in memory; use post_save",
    "post_init": "it announces an object in memory; use post_save",
    "pre_save": "what it announces may not happen; use post_save",
    "pre_delete": "what it announces may not happen; use post_delete, whose "
    "instance travels as a snapshot",
    "pre_migrate": "what it announces may not happen; use post_migrate, inline",
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
#: Signals whose instances no longer exist when a receiver runs.
SNAPSHOT = frozenset({"django.db.models.signals.post_delete"})


class ForwardedSignal(AsyncSignal):
    """The durable side of a signal that is not ours, for one receiver."""

    def __init__(self, foreign: Signal) -> None:
        name, *others = foreign_signal_names(foreign)
        super().__init__(name=name, aliases=others)
        self.foreign = foreign

    def _handed_to_receivers(self) -> Signal:
        return self.foreign


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Forwarder:
    """The inline receiver that writes a foreign signal to the outbox."""

    durable: ForwardedSignal
    exclude: Collection[str]
    snapshot: bool
    raw: bool

    def __call__(self, signal: Signal, sender: Any, **named: Any) -> None:
        is_raw = named.get("raw") is True and not self.raw
        if is_raw or _is_ours(sender) or _is_historical(sender):
            return
        for keyword in self.exclude:
            named.pop(keyword, None)
        if isinstance(named.get("origin"), QuerySet):
            named["origin"] = None  # what post_delete says of QuerySet.delete()
        if self.snapshot:
            named = {key: _frozen(value) for key, value in named.items()}
        self.durable.using(database=_alias(named)).send(sender, **named)


def async_receiver(
    signal: Signal | Iterable[Signal],
    sender: Any = None,
    *,
    exclude: Iterable[str] = (),
    snapshot: bool = False,
    raw: bool = False,
    **connect_options: Any,
) -> Callable[[F], F]:
    """Connect a durable receiver to any signal, or to each of several.

    For an ``AsyncSignal`` the same as ``django.dispatch.receiver``. For another
    signal the event is written in the transaction in which that signal is sent, on
    the database that the signal names in its keyword ``using``, if it does.

    Args:
        signal: one, or several.
        sender: hear of this sender alone, as in Django.
        exclude: keywords of the signal that cannot travel, such as ``request``.
        snapshot: model instances travel as they are instead of by reference;
            ``post_delete`` always does so.
        raw: hear of rows that ``loaddata`` loads, too.
        connect_options: as for ``AsyncSignal.connect``, without ``inline``.

    Raises:
        ImproperlyConfigured: for a signal that has no durable meaning, with the
            reason and what to use instead; else as ``AsyncSignal.connect``.
    """
    signals = [signal] if isinstance(signal, Signal) else list(signal)
    excluded = frozenset([exclude] if isinstance(exclude, str) else exclude)

    def decorate(function: F) -> F:
        for each in signals:
            if isinstance(each, AsyncSignal):
                _refuse_options(each, exclude=excluded, snapshot=snapshot, raw=raw)
                each.connect(function, sender=sender, **connect_options)
                continue
            durable = ForwardedSignal(each)
            _refuse_meaningless(durable.name)
            forwarder = Forwarder(
                durable=durable,
                exclude=excluded,
                snapshot=snapshot or durable.name in SNAPSHOT,
                raw=raw,
            )
            _forward(each, sender, function, forwarder, connect_options)
        return function

    return decorate


def _forward(
    signal: Signal,
    sender: Any,
    function: ReceiverFunction,
    forwarder: Forwarder,
    options: dict[str, Any],
) -> None:
    if options.get("inline"):
        raise ImproperlyConfigured(
            "async_receiver() connects durable receivers; for an inline one use "
            "django.dispatch.receiver."
        )
    forwarder.durable.connect(function, **options)
    name = receiver_name(function, options.get("name"), options.get("dispatch_uid"))
    signal.disconnect(sender=sender, dispatch_uid=name)
    signal.connect(forwarder, sender=sender, weak=False, dispatch_uid=name)


def _refuse_options(signal: AsyncSignal, **options: object) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise ImproperlyConfigured(
            f"{signal.name} is an AsyncSignal, whose sender decides what travels: "
            f"{', '.join(given)} would mean nothing here."
        )


def _refuse_meaningless(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    reason = REFUSED.get(attribute) if module.startswith("django.") else None
    if reason is None and attribute.startswith("pre_"):
        reason = "what it announces may not happen; use its post_ counterpart"
    if reason is not None:
        raise ImproperlyConfigured(
            f"{name} cannot have durable receivers: {reason}. For an inline receiver "
            "use django.dispatch.receiver."
        )


def _is_ours(sender: Any) -> bool:
    """Whether it is a row of the outbox, whose every change would make another."""
    meta = getattr(sender, "_meta", None)
    return getattr(meta, "app_label", None) == "signal_tasks"


def _is_historical(sender: Any) -> bool:
    """Whether a migration made this model for itself: no worker has it."""
    return getattr(sender, "__module__", None) == "__fake__"


def _frozen(value: Any) -> Any:
    return Snapshot(value) if isinstance(value, Model) else value


def _alias(named: dict[str, Any]) -> str | None:
    """The alias that model signals name in their keyword ``using``."""
    using = named.get("using")
    return using if isinstance(using, str) else None
