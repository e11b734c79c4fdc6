"""Check the histories of keys: one at a time, in the order of the commits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.checker import Observations, Step


def effects_out_of_order(observed: Observations) -> Iterator[str]:
    """Yield each effect that was left before one that comes earlier in its line."""
    by_line: dict[str, list[int]] = defaultdict(list)
    for key in observed.ordered_effects:
        if place := observed.places.get(key):
            by_line[place.line].append(place.number)
    for line, numbers in by_line.items():
        for first, second in pairwise(numbers):
            if second < first:
                yield f"{second} behind {first} in line {line}"


def begun_before_their_turn(observed: Observations) -> Iterator[str]:
    """Yield each run that began before all that come earlier in its line had ended."""
    ended: dict[str, set[int]] = defaultdict(set)
    for step in observed.steps:
        place = observed.places.get(step.key)
        if place is None:
            continue  # never committed, which is a violation of its own
        if not step.begins:
            ended[place.line].add(place.number)
        elif missing := set(range(1, place.number)) - ended[place.line]:
            yield f"{place.number} before {min(missing)} in line {place.line}"


def overlapping(observed: Observations) -> Iterator[str]:
    """Yield each run that began while another of its line was running.

    A run whose lease was over may go on: its worker was paused, or cannot know.
    """
    running: dict[str, dict[tuple[str, int], Step]] = defaultdict(dict)
    ends = {(s.delivery, s.lease): s.at for s in observed.steps if not s.begins}
    for step in observed.steps:
        place = observed.places.get(step.key)
        if place is None or not step.begins:
            continue
        others = running[place.line]
        for run, begun in others.items():
            if ends.get(run, 0.0) > step.at and not _is_excused(begun, step, observed):
                yield f"{step.key} while {begun.key} in line {place.line}"
        others[step.delivery, step.lease] = step


def _is_excused(begun: Step, later: Step, observed: Observations) -> bool:
    """Return whether the earlier run had lost its lease, or its claim was forgotten."""
    if (begun.delivery, begun.lease) in observed.released:
        return True
    return any(begun.at <= crash <= later.at for crash in observed.crashes)
