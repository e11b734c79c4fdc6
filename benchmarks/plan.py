"""The measures, their sizes, and the order in which they run.

Contenders alternate within each repetition, so that a change of the machine during a
run affects all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.big import big
from benchmarks.environments import UnavailableError
from benchmarks.figures import Results, Sample
from benchmarks.load import Load, wait_for_quiet
from benchmarks.measures.drain import drain, rest
from benchmarks.measures.flow import flow
from benchmarks.measures.idle import idle
from benchmarks.measures.latency import latency
from benchmarks.measures.send import added
from benchmarks.roster import OURS, REFERENCE, RIVALS, Contender
from benchmarks.scale import scale
from benchmarks.seat import BenchmarkError, Seat
from benchmarks.stand import Stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The amount of work of each measure."""

    repeat: int
    rivals_repeat: int
    backlog: int
    our_backlog: int  # larger, so that it takes about as long
    sends: int
    latency_seconds: float
    idle_seconds: float
    flow_seconds: float
    finished: int
    pending: int
    #: Seconds to wait, before each run, until no others use the machine.
    patience: float = 0.0

    def drained(self, contender: Contender) -> int:
        """Return the size of this contender's backlog."""
        return self.our_backlog if contender is OURS else self.backlog


QUICK = Size(
    repeat=3,
    rivals_repeat=1,
    backlog=1500,
    our_backlog=4000,
    sends=100,
    latency_seconds=3,
    idle_seconds=8,
    flow_seconds=3,
    finished=500_000,
    pending=100_000,
)
FULL = Size(
    repeat=5,
    rivals_repeat=3,
    backlog=2000,
    our_backlog=8000,
    sends=200,
    latency_seconds=8,
    idle_seconds=20,
    flow_seconds=6,
    finished=5_000_000,
    pending=1_000_000,
    patience=5.0,
)

Found = tuple[dict[str, float], Load]
Measure = Callable[[Seat, Size], Found]


def _drain(kind: str) -> Measure:
    def measure(seat: Seat, size: Size) -> Found:
        figures, load = drain(seat, kind, size.drained(seat.contender))
        rest(seat)
        return {**figures, "PSS MB": seat.pss()}, load

    return measure


def _send(seat: Seat, size: Size) -> Found:
    kinds = "atomic,thrice" if seat.contender is OURS else "atomic"
    found = added(seat, kinds, events=size.sends, many=not seat.contender.rival)
    rest(seat)
    return found


def _latency(seat: Seat, size: Size) -> Found:
    found = latency(seat, size.latency_seconds)
    rest(seat)
    return found


def _flow(seat: Seat, size: Size) -> Found:
    found = flow(seat, size.flow_seconds)
    rest(seat)
    return found


def _idle(seat: Seat, size: Size) -> Found:
    return idle(seat, size.idle_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A measure by name, and its contenders."""

    group: str
    name: str
    measure: Measure
    contenders: tuple[Contender, ...] = (REFERENCE, OURS)
    rivals: bool = False
    repeats: bool = True

    def those(self, number: int, size: Size, *, rivals: bool) -> Iterator[Contender]:
        """Yield the contenders of this repetition."""
        if self.repeats or number == 0:
            yield from self.contenders
        if self.rivals and rivals and number < size.rivals_repeat:
            yield from RIVALS


STEPS = (
    Step(group="drain", name="drain atomic", measure=_drain("atomic"), rivals=True),
    Step(
        group="single",
        name="drain single",
        measure=_drain("single"),
        contenders=(OURS,),
    ),
    Step(group="outside", name="drain outside", measure=_drain("outside")),
    Step(group="ordered", name="drain hot", measure=_drain("hot"), contenders=(OURS,)),
    Step(
        group="ordered",
        name="drain keyed",
        measure=_drain("keyed"),
        contenders=(OURS,),
    ),
    Step(group="flow", name="flow", measure=_flow),
    Step(group="send", name="send", measure=_send, rivals=True),
    Step(group="latency", name="latency", measure=_latency, rivals=True),
    Step(group="idle", name="idle", measure=_idle, contenders=(OURS,), repeats=False),
)
GROUPS = (*dict.fromkeys(step.group for step in STEPS), "big", "rivals", "scale")
#: Groups that run only if named, and those that `--quick` leaves out besides.
EXTRA = ("scale", "ordered")
SLOW = (*EXTRA, "big", "rivals")
#: Kinds of work that only we have.
OUR_KINDS = {"single", "hot", "keyed"}
#: The group with which a group is compared, so that both are measured.
NEEDS = {"single": "drain", "ordered": "drain"}


def run(
    stand: Stand, groups: Sequence[str], size: Size, results: Results
) -> Iterator[Sample]:
    """Run the measures of these groups, sample by sample, into ``results``."""
    wanted = {*groups, *(NEEDS[group] for group in groups if group in NEEDS)}
    steps = [step for step in STEPS if step.group in wanted]
    rivals = "rivals" in groups
    seats = _seats(stand, steps, results, rivals=rivals)
    yield from _steps(steps, seats, size, results)
    for seat in seats.values():
        seat.stop()
    extras = {"big": _big, "scale": _scale}
    for group in (group for group in extras if group in groups):
        for who, name, found in extras[group](stand, size):
            yield results.add(who, name, found)


def _steps(
    steps: Sequence[Step], seats: dict[str, Seat], size: Size, results: Results
) -> Iterator[Sample]:
    rivals = any(contender.name in seats for contender in RIVALS)
    for number in range(size.repeat):
        for step in steps:
            for contender in step.those(number, size, rivals=rivals):
                if contender.name in seats:
                    found = _found(step, seats[contender.name], size)
                    yield results.add(contender.name, step.name, found)


def _found(step: Step, seat: Seat, size: Size) -> Found:
    """Run a measure; once more, if others disturbed it and there is patience left."""
    if size.patience:
        wait_for_quiet(size.patience)
    found = step.measure(seat, size)
    if found[1].disturbed and size.patience:
        wait_for_quiet(size.patience)
        again = step.measure(seat, size)
        return min(found, again, key=lambda one: one[1].foreign_share)
    return found


def _big(stand: Stand, size: Size) -> Iterator[tuple[str, str, Found]]:
    measured = big(
        stand,
        finished=size.finished,
        pending=size.pending,
        events=size.our_backlog,
        repeat=min(size.repeat, 3),
    )
    return ((OURS.name, name, found) for name, found in measured)


def _scale(stand: Stand, size: Size) -> Iterator[tuple[str, str, Found]]:
    sizes = {c.name: size.drained(c) for c in (REFERENCE, OURS)}
    return scale(stand, sizes, min(size.repeat, 3))


def _seats(
    stand: Stand, steps: Sequence[Step], results: Results, *, rivals: bool
) -> dict[str, Seat]:
    """Prepare databases and warm workers; note the contenders for which that fails."""
    seats: dict[str, Seat] = {}
    for contender in dict.fromkeys(c for step in steps for c in step.contenders):
        kinds = {"atomic", *(s.name[6:] for s in steps if s.name.startswith("drain"))}
        seats[contender.name] = _seat(stand, contender, kinds)
    for contender in RIVALS if rivals else ():
        try:
            seats[contender.name] = _seat(stand, contender, {"atomic"})
        except (UnavailableError, BenchmarkError) as error:
            results.missing[contender.title] = str(error)
    return seats


def _seat(stand: Stand, contender: Contender, kinds: set[str]) -> Seat:
    seat = stand.seat(contender)
    seat.start()
    seat.warm_up(sorted(kinds - (OUR_KINDS if contender is REFERENCE else set())))
    return seat
