"""Fifty signals with four receivers each, as the rows name them."""

from __future__ import annotations

from collections.abc import Callable

from django.apps import AppConfig

SIGNALS, RECEIVERS = 50, 4
#: Signals whose second receiver is ordered by key.
ORDERED = (0, 40, 41, 42, 43, 44)


class VolumeConfig(AppConfig):
    """Connects a receiver of each name."""

    name = "benchmarks.volume"
    label = "volume"

    def ready(self) -> None:
        """Connect them, as a project's own apps would."""
        from signal_tasks import AsyncSignal

        for number in range(SIGNALS):
            signal = AsyncSignal(name=f"shop.signals.signal_{number:02}")
            signals.append(signal)  # a signal lives as long as somebody holds it
            for each in range(RECEIVERS):
                name = f"shop.receivers.react_{number * RECEIVERS + each:03}"
                ordered = each == 1 and number in ORDERED
                signal.connect(_receiver(), name=name, ordered=ordered, weak=False)


signals: list[object] = []


def _receiver() -> Callable[..., None]:
    """Return a receiver of its own: a signal connects each function once."""

    def react(sender: object, **kwargs: object) -> None:
        """Do nothing: the pages never run it."""

    return react
