"""``receiver``: Django's decorator, for people whose tools check types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Unpack, overload

import django.dispatch
from django.dispatch import Signal

from signal_tasks.dispatch.signal import AsyncSignal
from signal_tasks.registry.naming import ReceiverFunction
from signal_tasks.registry.options import ConnectOptions, DjangoOptions

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
        ImproperlyConfigured, TypeError, ValueError: as ``AsyncSignal.connect``.
    """
    connect: Callable[[F], F] = django.dispatch.receiver(
        signal if isinstance(signal, Signal) else list(signal),
        sender=sender,
        **options,
    )
    return connect
