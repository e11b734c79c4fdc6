"""The limits in force for a receiver: an operator's, or else those of ``connect()``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from signal_tasks.models import Control
from signal_tasks.registry.options import per_second
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.steering.snapshot import Snapshot
from signal_tasks.steering.targets import targets_of

N = TypeVar("N", int, float)


class Limits(NamedTuple):
    """Deliveries per second that may start, and batches that may run at a time."""

    rate: float | None = None
    max_concurrency: int | None = None


def limits_of(receiver: Receiver, current: Snapshot) -> Limits:
    """Return the limits in force; an operator's strictest, whatever the code says."""
    options = receiver.options
    in_code = Limits(_rate(options.rate_limit), options.max_concurrency)
    if not current.limits:
        return in_code
    controls = list(_controls_of(receiver, current))
    rate = _least(_rate(each.rate) for each in controls)
    places = _least(each.max_concurrency for each in controls)
    return Limits(
        in_code.rate if rate is None else rate,
        in_code.max_concurrency if places is None else places,
    )


def _controls_of(receiver: Receiver, current: Snapshot) -> Iterator[Control]:
    """Yield the limits of all that a receiver belongs to, and of its signals."""
    signals = (f"signal:{name}" for name in registry.names_of_signals(receiver))
    for target in (*targets_of(receiver), *signals):
        if target in current.limits:
            yield current.limits[target]


def _rate(rate: str | int | float | None) -> float | None:
    return None if rate in (None, "") else per_second(rate)


def _least(values: Iterable[N | None]) -> N | None:
    return min((value for value in values if value is not None), default=None)
