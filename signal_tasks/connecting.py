"""What a connection of a durable receiver is, and which ones are refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured

from signal_tasks.identity import identity
from signal_tasks.registry import Options, Receiver, ReceiverFunction

When = Callable[..., bool]


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A durable receiver on one signal."""

    key: tuple[object, object]
    receiver: Receiver
    sender: Callable[[], object]
    when: When | None

    def is_for(self, sender: object) -> bool:
        """Whether it is to hear of this sender, by identity, as in Django."""
        if self.receiver.function() is None:
            return False
        wanted = self.key[1]
        return wanted is None or (
            wanted == identity(sender) and self.sender() is not None
        )


def refuse_durable(
    receiver: ReceiverFunction,
    name: str | None,
    aliases: tuple[str, ...],
    when: When | None,
    options: Options,
) -> None:
    """Raise ``ImproperlyConfigured`` for what an inline receiver cannot have."""
    given = [option for option, value in (("name", name), ("when", when)) if value]
    given += ["aliases"] if aliases else []
    given += options.unusual()
    if given:
        raise ImproperlyConfigured(
            f"{_shown(receiver)}: inline=True runs it in the sender's process, where "
            f"{', '.join(sorted(given))} would mean nothing; drop either."
        )


def check(receiver: ReceiverFunction, options: Options, when: object) -> None:
    """Raise what ``connect()`` says of a receiver or options that make no sense."""
    if not callable(receiver):
        raise TypeError("Signal receivers must be callable.")
    if not _accepts_keywords(receiver):
        raise ValueError("Signal receivers must accept keyword arguments (**kwargs).")
    problem = options.problem()
    if when is not None and not callable(when):
        problem = f"when={when!r}; give a function of sender and keywords"
    if problem:
        raise ImproperlyConfigured(f"{_shown(receiver)}: {problem}")


def _accepts_keywords(receiver: ReceiverFunction) -> bool:
    """As Django's ``func_accepts_kwargs``, whose cache keeps receivers alive."""
    parameters = inspect.signature(receiver).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _shown(receiver: object) -> str:
    return f"Receiver {getattr(receiver, '__qualname__', repr(receiver))}"


def key_of(
    receiver: object, sender: object, dispatch_uid: object
) -> tuple[object, object]:
    """What tells a connection from others of its signal, as in Django."""
    sender_id = None if sender is None else identity(sender)
    return dispatch_uid or identity(receiver), sender_id
