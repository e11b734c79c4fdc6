"""The count at the end: events that were committed against effects that are there.

Pure: what there is to be judged comes in as ``Observations``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

#: Effects that receivers of the workload leave inside of their transaction.
ATOMIC = ("inside", "at times")
RECEIVERS = 3
#: A take is no longer ago than this when its receiver has its effect (seconds).
LONGEST_RUN = 5.0
#: Remarks of one kind in a report.
MOST_REMARKS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a non-atomic receiver that left its effect."""

    key: str
    delivery: str
    lease: int
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class FinalState:
    """How a delivery stands at the end."""

    delivery: str
    receiver: str
    state: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What was committed, and all that came of it."""

    tickets: Collection[str]
    inside: Mapping[tuple[str, str], int]
    outside: Sequence[Run]
    released: Collection[tuple[str, int]]
    ends: Sequence[FinalState]
    crashes: Sequence[float] = ()  # when the database was killed


@dataclass(kw_only=True)
class CheckResult:
    """What the count came to; only ``repeated`` may be above zero."""

    events: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0
    unexplained: int = 0
    unsent: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        wrong = self.lost + self.doubled + self.unexplained + self.unsent
        return not wrong and not self.remarks


def check(observations: Observations) -> CheckResult:
    """Compare events with effects, exactly."""
    lost = list(_lost(observations))
    doubled = [key for key, number in observations.inside.items() if number > 1]
    unsent = _keys_with_effects(observations) - set(observations.tickets)
    repeated, unexplained = _repetitions(observations)
    result = CheckResult(
        events=len(observations.tickets),
        lost=len(lost),
        doubled=sum(observations.inside[key] - 1 for key in doubled),
        repeated=repeated,
        unexplained=len(unexplained),
        unsent=len(unsent),
    )
    said = {
        "no effect": lost,
        "doubled": [" ".join(key) for key in doubled],
        "an effect of what was never sent": sorted(unsent),
        "ran again without a cause": unexplained,
        "not succeeded": list(_bad_ends(observations)),
    }
    for what, which in said.items():
        result.remarks += [f"{what}: {one}" for one in which[:MOST_REMARKS]]
    return result


def _lost(observations: Observations) -> Iterator[str]:
    """Effects that are not there."""
    ran = {run.key for run in observations.outside}
    for key in sorted(observations.tickets):
        for what in ATOMIC:
            if not observations.inside.get((what, key)):
                yield f"{what} {key}"
        if key not in ran:
            yield f"outside {key}"


def _keys_with_effects(observations: Observations) -> set[str]:
    inside = {key for _, key in observations.inside}
    return inside | {run.key for run in observations.outside}


def _repetitions(observations: Observations) -> tuple[int, list[str]]:
    """How many there were, and the deliveries of those that nothing explains."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(observations.outside, key=lambda run: (run.lease, run.at)):
        runs[run.delivery].append(run)
    unexplained = [
        f"{delivery} under leases {[run.lease for run in taken]}"
        for delivery, taken in runs.items()
        if not all(_is_explained(*pair, observations) for pair in pairwise(taken))
    ]
    return len(observations.outside) - len(runs), unexplained


def _is_explained(one: Run, other: Run, observations: Observations) -> bool:
    """Whether the first lease was given up: over, handed back, or its attempt failed.

    A database that is killed may forget the last takes, which wait for no disk: then
    the same lease is given again. Otherwise two runs never share one.
    """
    if one.lease != other.lease:
        return (one.delivery, one.lease) in observations.released
    begin, end = min(one.at, other.at) - LONGEST_RUN, max(one.at, other.at)
    return any(begin <= crash <= end for crash in observations.crashes)


def _bad_ends(observations: Observations) -> Iterator[str]:
    """Deliveries that are not done, or are not there."""
    owed = RECEIVERS * len(observations.tickets)
    if len(observations.ends) != owed:
        yield f"{len(observations.ends)} deliveries instead of {owed}"
    for end in observations.ends:
        if end.state != "succeeded":
            yield f"{end.receiver} {end.delivery} {end.state} {end.reason}".rstrip()
