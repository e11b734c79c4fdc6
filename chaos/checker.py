"""Check the promises: compare committed events with their effects, exactly.

Pure: everything that is checked comes in as ``Observations``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chaos import order

#: Effects that receivers of the workload leave in their transaction.
ATOMIC = ("atomic", "flaky", "ordered")
RECEIVERS = 5
#: Longest time from a claim to the effect of its receiver (seconds).
MAX_RUN = 5.0
#: Most violations of one kind in a report.
MAX_VIOLATIONS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the non-atomic receiver that left its effect."""

    key: str
    delivery: str
    lease: int
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """The line of an event, and its place in it, by the order of the commits."""

    line: str
    number: int


@dataclass(frozen=True, slots=True)
class Step:
    """The begin or the end of a run of the ordered receiver that is not atomic."""

    key: str
    begins: bool
    delivery: str
    lease: int
    at: float


@dataclass(frozen=True, slots=True)
class FinalState:
    """The state of a delivery at the end."""

    delivery: str
    receiver: str
    state: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """The committed events and everything that followed from them."""

    tickets: Collection[str]
    atomic_effects: Mapping[tuple[str, str], int]
    external_runs: Sequence[Run]
    released: Collection[tuple[str, int]]  # delivery and lease
    final_states: Sequence[FinalState]
    crashes: Sequence[float] = ()  # times at which the database was killed
    places: Mapping[str, Place] = field(default_factory=dict)
    ordered_effects: Sequence[str] = ()  # keys, in the order of their effects
    steps: Sequence[Step] = ()  # in the order of time


@dataclass(kw_only=True)
class CheckResult:
    """The counts of the checker; only ``repeated`` may be above zero."""

    events: int = 0
    lost: int = 0
    duplicated: int = 0
    repeated: int = 0
    unexplained: int = 0
    uncommitted: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Return whether every promise was kept."""
        wrong = self.lost + self.duplicated + self.unexplained + self.uncommitted
        return not wrong and not self.violations


def check(observed: Observations) -> CheckResult:
    """Compare events with effects, exactly."""
    lost = list(_lost(observed))
    duplicated = [key for key, number in observed.atomic_effects.items() if number > 1]
    uncommitted = _keys_with_effects(observed) - set(observed.tickets)
    repeated, unexplained = _repetitions(observed)
    result = CheckResult(
        events=len(observed.tickets),
        lost=len(lost),
        duplicated=sum(observed.atomic_effects[key] - 1 for key in duplicated),
        repeated=repeated,
        unexplained=len(unexplained),
        uncommitted=len(uncommitted),
    )
    violations = {
        "no effect": lost,
        "duplicated": [" ".join(key) for key in duplicated],
        "effect of an event that was never committed": sorted(uncommitted),
        "ran again without a cause": unexplained,
        "not succeeded": list(_not_succeeded(observed)),
        "effect out of order": list(order.effects_out_of_order(observed)),
        "began before its turn": list(order.begun_before_their_turn(observed)),
        "began while another was running": list(order.overlapping(observed)),
    }
    for kind, found in violations.items():
        result.violations += [f"{kind}: {one}" for one in found[:MAX_VIOLATIONS]]
    return result


def _lost(observed: Observations) -> Iterator[str]:
    """Yield each effect that is missing."""
    ran = {run.key for run in observed.external_runs}
    ended = {step.key for step in observed.steps if not step.begins}
    for key in sorted(observed.tickets):
        for kind in ATOMIC:
            if not observed.atomic_effects.get((kind, key)):
                yield f"{kind} {key}"
        if key not in ran:
            yield f"external {key}"
        if key not in ended:
            yield f"ordered external {key}"


def _keys_with_effects(observed: Observations) -> set[str]:
    atomic = {key for _, key in observed.atomic_effects}
    external = {run.key for run in observed.external_runs}
    return atomic | external | {step.key for step in observed.steps}


def _repetitions(observed: Observations) -> tuple[int, list[str]]:
    """Return the number of repeated runs, and the deliveries without a cause."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in observed.external_runs:
        runs[run.delivery].append(run)
    unexplained = [
        f"{delivery} under leases {[run.lease for run in its_runs]}"
        for delivery, its_runs in runs.items()
        if not _is_explained(its_runs, observed)
    ]
    return len(observed.external_runs) - len(runs), unexplained


def _is_explained(runs: Sequence[Run], observed: Observations) -> bool:
    """Return whether every lease but the last had expired or ended.

    Leases are random tokens, so which one was the last is not known, and no two runs
    share one. A database that is killed may forget its last claims, which are
    committed without waiting for the disk: then two leases are left.
    """
    if len({run.lease for run in runs}) < len(runs):
        return False
    kept = [run for run in runs if (run.delivery, run.lease) not in observed.released]
    if len(kept) <= 1:
        return True
    moments = [run.at for run in kept]
    begin, end = min(moments) - MAX_RUN, max(moments)
    return any(begin <= crash <= end for crash in observed.crashes)


def _not_succeeded(observed: Observations) -> Iterator[str]:
    """Yield each delivery that did not succeed, and say if some do not exist."""
    expected = RECEIVERS * len(observed.tickets)
    if len(observed.final_states) != expected:
        yield f"{len(observed.final_states)} deliveries instead of {expected}"
    for final in observed.final_states:
        if final.state != "succeeded":
            text = f"{final.receiver} {final.delivery} {final.state} {final.reason}"
            yield text.rstrip()
