"""Which measures there are, how much each does, and in which order they run.

Contenders alternate within each repetition, so that what changes on the machine in
the course of a run changes for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.big import big
from benchmarks.figures import Results, Sample
from benchmarks.load import Load
from benchmarks.measures.drain import drain, rest
from benchmarks.measures.flow import flow
from benchmarks.measures.idle import idle
from benchmarks.measures.latency import latency
from benchmarks.measures.send import added
from benchmarks.roster import OURS, REFERENCE, Contender
from benchmarks.stand import Seat, Stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much work each measure does."""

    repeat: int
    drained: dict[str, int]  # backlog by contender
    sends: int
    latency_seconds: float
    idle_seconds: float
    flow_seconds: float
    finished: int
    owed: int


QUICK = Size(
    repeat=3,
    drained={"reference": 1500, "ours": 4000},
    sends=150,
    latency_seconds=4,
    idle_seconds=8,
    flow_seconds=4,
    finished=500_000,
    owed=100_000,
)
FULL = Size(
    repeat=5,
    drained={"reference": 4000, "ours": 12000},
    sends=300,
    latency_seconds=15,
    idle_seconds=20,
    flow_seconds=8,
    finished=5_000_000,
    owed=1_000_000,
)

Found = tuple[dict[str, float], Load]
Measure = Callable[[Seat, Size], Found]


def _drain(kind: str) -> Measure:
    def measure(seat: Seat, size: Size) -> Found:
        figures, load = drain(seat, kind, size.drained[seat.contender.name])
        rest(seat)
        return {**figures, "PSS MB": seat.pss()}, load

    return measure


def _send(seat: Seat, size: Size) -> Found:
    kinds = "atomic,thrice" if seat.contender is OURS else "atomic"
    return added(seat, kinds, events=size.sends)


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
    """A measure by name, and whom it is taken of."""

    group: str
    name: str
    measure: Measure
    contenders: tuple[Contender, ...] = (REFERENCE, OURS)
    repeats: bool = True


STEPS = (
    Step(group="drain", name="drain atomic", measure=_drain("atomic")),
    Step(
        group="single",
        name="drain single",
        measure=_drain("single"),
        contenders=(OURS,),
    ),
    Step(group="outside", name="drain outside", measure=_drain("outside")),
    Step(group="flow", name="flow", measure=_flow),
    Step(group="send", name="send", measure=_send),
    Step(group="latency", name="latency", measure=_latency),
    Step(group="idle", name="idle", measure=_idle, contenders=(OURS,), repeats=False),
)
GROUPS = (*dict.fromkeys(step.group for step in STEPS), "big")
#: What a group needs to have been measured as well, to be compared with.
NEEDS = {"single": "drain"}


def run(stand: Stand, groups: Sequence[str], size: Size) -> Iterator[Sample]:
    """Take the measures of these groups, sample by sample."""
    wanted = {*groups, *(NEEDS[group] for group in groups if group in NEEDS)}
    steps = [step for step in STEPS if step.group in wanted]
    seats = _seats(stand, steps)
    results = Results()
    for number in range(size.repeat):
        for step in steps:
            for contender in step.contenders if step.repeats or not number else ():
                found = step.measure(seats[contender.name], size)
                yield results.add(contender.name, step.name, found)
    if "big" in groups:
        for seat in seats.values():
            seat.stop()
        for name, found in _big(stand, size):
            yield results.add(OURS.name, name, found)


def _big(stand: Stand, size: Size) -> Iterator[tuple[str, Found]]:
    return big(
        stand,
        finished=size.finished,
        owed=size.owed,
        events=size.drained[OURS.name],
        repeat=min(size.repeat, 3),
    )


def _seats(stand: Stand, steps: Sequence[Step]) -> dict[str, Seat]:
    seats: dict[str, Seat] = {}
    for contender in dict.fromkeys(c for step in steps for c in step.contenders):
        seat = seats[contender.name] = stand.seat(contender)
        seat.start()
        kinds = {
            "atomic",
            *(s.group for s in steps if s.group in ("outside", "single")),
        }
        if contender is REFERENCE:
            kinds.discard("single")
        seat.warm_up(sorted(kinds))
    return seats
