"""Checks of signals and receivers, as this process has connected them."""

from __future__ import annotations

from collections import Counter

from django.core import checks

from signal_tasks.checks.messages import Messages
from signal_tasks.delivery.tasks import owns_task
from signal_tasks.dispatch.forwarding import ForwardedSignal
from signal_tasks.dispatch.signal import all_signals
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


ALL = (
    receivers_own_their_tasks,
    signals_own_their_names,
    arguments_travel,
    receivers_are_held,
)
