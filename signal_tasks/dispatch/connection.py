"""Connections of durable receivers to one signal."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.dispatch import Signal

from signal_tasks.delivery.tasks import register_task
from signal_tasks.dispatch.references import identity
from signal_tasks.outbox.keys import ask
from signal_tasks.registry.naming import ReceiverFunction
from signal_tasks.registry.options import Options
from signal_tasks.registry.registry import Receiver, registry

Predicate = Callable[..., bool]


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A durable receiver connected to one signal."""

    key: tuple[object, object]
    receiver: Receiver
    sender: Callable[[], object]
    when: Predicate | None

    @property
    def is_live(self) -> bool:
        """True while the receiver's function exists."""
        return self.receiver.function() is not None

    def matches(self, sender: object) -> bool:
        """Return True if the receiver hears this sender, by identity as in Django."""
        if not self.is_live:
            return False
        wanted = self.key[1]
        return wanted is None or (
            wanted == identity(sender) and self.sender() is not None
        )

    def matches_stored(self, sender: object) -> bool:
        """Return True if the receiver hears this sender, which was stored since.

        Texts and rows are not the same objects any more; they are compared.
        """
        if self.key[1] is None:
            return True
        own = self.sender()
        is_equal = isinstance(sender, str | Model) and own == sender
        return own is not None and (own is sender or is_equal)

    def accepts(self, sender: object, named: Mapping[str, Any]) -> bool:
        """Return what ``when`` says of a send; True if there is none."""
        if self.when is None:
            return True
        return ask(self.when, f"The when= of {self.receiver.name}", sender, named)


class Connections:
    """The durable receivers of one signal."""

    def __init__(self, signal: Signal) -> None:
        self._signal = weakref.ref(signal)
        self._lock = threading.Lock()
        self._all: tuple[Connection, ...] = ()

    @property
    def live(self) -> tuple[Connection, ...]:
        """The connections whose receivers exist."""
        return tuple(each for each in self._all if each.is_live)

    def add(self, connection: Connection) -> None:
        """Add a connection; it replaces an earlier one, or that of a reloaded module.

        The registry refuses a name that is taken, or known with other options.
        """
        receiver = connection.receiver
        with self._lock:
            registry.add(receiver, (self._signal, connection.key))
            for name in receiver.names:
                register_task(name)
            self._remove(connection.key, successor=receiver)
            self._all = (*self._all, connection)

    def find(self, key: object) -> Connection | None:
        """Return the connection of that key."""
        return next((each for each in self._all if each.key == key), None)

    def remove(self, key: object) -> bool:
        """Remove the connection of that key; return True if there was one."""
        with self._lock:
            return self._remove(key)

    def _remove(self, key: object, *, successor: Receiver | None = None) -> bool:
        """Remove the connection of that key, and those whose receivers are gone.

        A successor that has a name in common is known by the same holder.
        """
        kept_names = set(successor.names) if successor is not None else set()
        kept = [each for each in self.live if each.key != key]
        gone = [each for each in self._all if each not in kept]
        self._all = tuple(kept)
        for old in gone:
            if old.key != key or kept_names.isdisjoint(old.receiver.names):
                registry.release(old.receiver, (self._signal, old.key))
        return any(old.key == key for old in gone)

    def first_match(self, sender: object) -> Connection | None:
        """Return the first connection that hears this sender."""
        return next((each for each in self._all if each.matches(sender)), None)

    def connections_for(
        self,
        sender: object,
        named: Mapping[str, Any],
        among: Callable[[Connection], bool] | None = None,
    ) -> list[Connection]:
        """Return the connections that get this send, one for each receiver.

        Only those that ``among`` accepts, if it is given.
        """
        found: dict[str, Connection] = {}
        for each in self._all:
            name = each.receiver.name
            if name in found or not each.matches(sender):
                continue
            if among is not None and not among(each):
                continue
            if each.accepts(sender, named):
                found[name] = each
        return list(found.values())


def refuse_durable_options(
    receiver: ReceiverFunction, options: Options, **others: object
) -> None:
    """Raise ``ImproperlyConfigured`` for options that an inline receiver cannot have."""
    given = [option for option, value in others.items() if value]
    given += options.non_default()
    if given:
        raise ImproperlyConfigured(
            f"{_shown(receiver)}: inline=True runs it in the sender's process, where "
            f"{', '.join(sorted(given))} would mean nothing; drop either."
        )


def check(receiver: ReceiverFunction, options: Options, when: object) -> None:
    """Check a durable receiver and its options.

    Raises:
        TypeError: the receiver cannot be called.
        ValueError: the receiver does not accept ``**kwargs``.
        ImproperlyConfigured: an option makes no sense.
    """
    if not callable(receiver):
        raise TypeError("Signal receivers must be callable.")
    if not _accepts_keywords(receiver):
        raise ValueError("Signal receivers must accept keyword arguments (**kwargs).")
    errors = [*options.errors()]
    if options.batch is not None and not _takes_batch(receiver):
        errors.append(
            "batch= calls it with batch= and signal= and nothing else, which it does not "
            "take; write def receiver(batch, **kwargs)"
        )
    if _yields(receiver):
        errors.append("it yields: a call would only make a generator, and run nothing")
    if when is not None and not (callable(when) and _answers(when)):
        errors.append(
            f"when is {when!r}; give a function of sender and keywords, not an async one"
        )
    if errors:
        raise ImproperlyConfigured(f"{_shown(receiver)}: {'; '.join(errors)}")


def _accepts_keywords(receiver: ReceiverFunction) -> bool:
    """Do as Django's ``func_accepts_kwargs``, whose cache keeps receivers alive."""
    parameters = inspect.signature(receiver).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _takes_batch(receiver: ReceiverFunction) -> bool:
    """Return True if a receiver can be called as one of batches is."""
    try:
        inspect.signature(receiver).bind(batch=(), signal=None)
    except TypeError:
        return False
    return True


def _yields(function: object) -> bool:
    """Return True if a call makes a generator."""
    return any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in _runs(function)
    )


def _answers(function: object) -> bool:
    """Return True if a call returns an answer, not what has yet to be run for one."""
    is_async = any(inspect.iscoroutinefunction(each) for each in _runs(function))
    return not is_async and not _yields(function)


def _runs(function: object) -> tuple[object, object]:
    """Return the function, and the one that a call of an object runs."""
    return function, getattr(type(function), "__call__", None)  # noqa: B004


def _shown(receiver: object) -> str:
    return f"Receiver {getattr(receiver, '__qualname__', repr(receiver))}"


def key_of(
    receiver: object, sender: object, dispatch_uid: object
) -> tuple[object, object]:
    """Return what tells a connection from others of its signal, as in Django."""
    sender_id = None if sender is None else identity(sender)
    return dispatch_uid or identity(receiver), sender_id
