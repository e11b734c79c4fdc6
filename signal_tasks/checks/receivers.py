"""Checks of signals and receivers, as this process has connected them."""

from __future__ import annotations

import difflib
import inspect
from collections import Counter

from django.core import checks

from signal_tasks.checks.messages import Messages
from signal_tasks.delivery.tasks import owns_task
from signal_tasks.dispatch.forwarding import ForwardedSignal
from signal_tasks.dispatch.signal import AsyncSignal, all_signals
from signal_tasks.registry.registry import registry


def receivers_own_their_tasks() -> Messages:
    """E003: another Celery task has the name of a receiver."""
    for receiver in registry.receivers():
        for name in receiver.names:
            if not owns_task(name):
                yield checks.Error(
                    f"The Celery task {name!r} is not the one of the receiver of "
                    "that name.",
                    hint="Give the receiver or the task another name with name=.",
                    id="signal_tasks.E003",
                )


def signals_own_their_names() -> Messages:
    """E004: two signals have one name, so their events cannot be told apart."""
    names = Counter(each.name for each in all_signals())
    for name, count in names.items():
        if count > 1:
            yield checks.Error(
                f"{count} signals have the name {name!r}.",
                hint="Give each a name of its own with AsyncSignal(name=...).",
                id="signal_tasks.E004",
            )


def arguments_travel() -> Messages:
    """E008: a receiver of a signal of Django cannot get its usual arguments."""
    for signal in all_signals():
        if isinstance(signal, ForwardedSignal):
            for receiver, name in signal.unfit():
                yield checks.Error(
                    f"{signal.name} sends {name!r}, which cannot travel: each send "
                    f"would raise an error because of the receiver {receiver.name}.",
                    hint=f"Connect it with async_receiver(..., exclude=[{name!r}]).",
                    id="signal_tasks.E008",
                )


def receivers_are_held() -> Messages:
    """W008: a receiver that was connected weakly, and held by nobody."""
    for name in registry.gone():
        yield checks.Warning(
            f"The receiver {name!r} was connected, and no longer exists: nobody held "
            "it, so nothing is sent to it.",
            hint="Connect it with weak=False, or define it at the top of a module.",
            id="signal_tasks.W008",
        )


def sensitive_names_are_known() -> Messages:
    """W015: a sensitive argument is misspelt, so its value would be shown."""
    for signal in all_signals():
        known = _parameters(signal) if signal.sensitive else set()
        for name in sorted({*signal.sensitive} - known):
            for close in difflib.get_close_matches(name, known, n=1):
                yield checks.Warning(
                    f"{signal.name} is sensitive about {name!r}, which no receiver "
                    f"names; the value of {close!r} is shown.",
                    hint=f"Did you mean AsyncSignal(sensitive=({close!r},))? If not, "
                    "silence this check.",
                    id="signal_tasks.W015",
                )


def _parameters(signal: AsyncSignal) -> set[str]:
    """Return the arguments that the receivers of a signal name."""
    names = {"sender"}
    for connection in signal.durable_connections:
        if function := connection.receiver.function():
            names |= inspect.signature(function).parameters.keys()
    return names


ALL = (
    receivers_own_their_tasks,
    signals_own_their_names,
    arguments_travel,
    receivers_are_held,
    sensitive_names_are_known,
)
