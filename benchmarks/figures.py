"""Samples of a run, their medians, and the goals that they are compared with."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.load import Load


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one run of one measure for one contender."""

    contender: str
    measure: str
    figures: dict[str, float]
    load: Load


@dataclass(frozen=True, slots=True)
class Median:
    """The median of a figure, with its spread and how many runs were disturbed."""

    value: float
    low: float
    high: float
    runs: int
    disturbed: int

    def __str__(self) -> str:
        mark = f" ({self.disturbed}/{self.runs} disturbed)" if self.disturbed else ""
        return f"{self.value:,.4g} [{self.low:,.4g}-{self.high:,.4g}]{mark}"


@dataclass(slots=True)
class Results:
    """All samples so far."""

    samples: list[Sample] = field(default_factory=list)
    #: Contenders that did not take part, and why.
    missing: dict[str, str] = field(default_factory=dict)

    def add(
        self, contender: str, measure: str, found: tuple[dict[str, float], Load]
    ) -> Sample:
        """Keep a sample."""
        sample = Sample(contender, measure, *found)
        self.samples.append(sample)
        return sample

    def median(self, contender: str, measure: str, figure: str) -> Median | None:
        """Return the median, of the quiet runs only if they are the majority."""
        runs = self._runs(contender, measure, figure)
        quiet = [sample for sample in runs if not sample.load.disturbed]
        used = quiet if 2 * len(quiet) > len(runs) else runs
        if not used:
            return None
        values = [sample.figures[figure] for sample in used]
        return Median(
            statistics.median(values),
            min(values),
            max(values),
            len(runs),
            len(runs) - len(quiet),
        )

    def ratio(
        self, one: tuple[str, str, str], other: tuple[str, str, str]
    ) -> float | None:
        """Return one median divided by another.

        If all runs were disturbed, return the median of the ratios of neighbouring
        runs: what disturbed one has probably disturbed the other.
        """
        pairs = list(zip(self._runs(*one), self._runs(*other), strict=False))
        if pairs and all(a.load.disturbed or b.load.disturbed for a, b in pairs):
            return statistics.median(
                a.figures[one[2]] / b.figures[other[2]] for a, b in pairs
            )
        median, beside = self.median(*one), self.median(*other)
        return median.value / beside.value if median and beside else None

    def _runs(self, contender: str, measure: str, figure: str) -> list[Sample]:
        return [
            sample
            for sample in self.samples
            if (sample.contender, sample.measure) == (contender, measure)
            and figure in sample.figures
        ]

    def names(self) -> Iterable[tuple[str, str, str]]:
        """Return each contender, measure and figure once, in order of appearance."""
        return dict.fromkeys(
            (sample.contender, sample.measure, figure)
            for sample in self.samples
            for figure in sample.figures
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal for a figure of ours: a ratio to another figure, or a plain number."""

    title: str
    ours: tuple[str, str]
    goal: float
    stretch: float | None = None
    other: tuple[str, str, str] | None = None
    at_least: bool = False

    def measured(self, results: Results) -> float | None:
        """Return the ratio of the medians, or the median for a plain number."""
        if self.other is None:
            median = results.median("ours", *self.ours)
            return None if median is None else median.value
        return results.ratio(("ours", *self.ours), self.other)

    def met(self, measured: float) -> bool:
        """Return True if the goal is reached."""
        return measured >= self.goal if self.at_least else measured <= self.goal

    def wanted(self) -> str:
        """Return the goal as text."""
        sign = ">=" if self.at_least else "<="
        stretch = f" ({self.stretch:g})" if self.stretch is not None else ""
        return f"{sign} {self.goal:g}{' x' if self.other else ''}{stretch}"


def _faster(title: str, kind: str, than: str, goal: float, stretch: float) -> Goal:
    return Goal(
        title=title,
        ours=(f"drain {kind}", "events/s"),
        other=("reference", f"drain {than}", "events/s"),
        goal=goal,
        stretch=stretch,
        at_least=True,
    )


def _cheaper(title: str, figure: str, goal: float, stretch: float | None) -> Goal:
    return Goal(
        title=title,
        ours=("send", figure),
        other=("reference", "send", "atomic us"),
        goal=goal,
        stretch=stretch,
    )


def _sooner(figure: str, goal: float, stretch: float | None) -> Goal:
    return Goal(
        title=f"commit to receiver start at 50/s, {figure.removesuffix(' ms')}",
        ours=("latency", figure),
        other=("reference", "latency", figure),
        goal=goal,
        stretch=stretch,
    )


GOALS = (
    _faster("drain of a backlog, atomic receiver", "atomic", "atomic", 4.0, 6.0),
    _faster("the same with group_commit=False", "single", "atomic", 2.0, 3.0),
    _faster("atomic=False receiver", "outside", "outside", 1.5, 2.5),
    _cheaper("added to the transaction, one receiver", "atomic us", 0.55, 0.45),
    _cheaper("the same with three receivers", "thrice us", 0.70, None),
    _cheaper("send_many of 1,000, per event", "many us", 0.05, 0.03),
    _sooner("p50 ms", 1.3, 1.0),
    _sooner("p95 ms", 2.0, None),
    Goal(
        title="sustained flow, producers and workers together",
        ours=("flow", "events/s"),
        other=("reference", "flow", "events/s"),
        goal=1.5,
        stretch=2.0,
        at_least=True,
    ),
    Goal(
        title="memory of a worker with two children (PSS)",
        ours=("drain atomic", "PSS MB"),
        other=("reference", "drain atomic", "PSS MB"),
        goal=1.15,
    ),
    Goal(
        title="drain beside 5 million finished",
        ours=("full tables", "events/s"),
        other=("ours", "empty tables", "events/s"),
        goal=0.9,
        stretch=1.0,
        at_least=True,
    ),
    Goal(
        title="drain of 1 million pending",
        ours=("many pending", "events/s"),
        other=("ours", "few pending", "events/s"),
        goal=0.9,
        stretch=1.0,
        at_least=True,
    ),
    Goal(
        title="peak memory with 1 million pending (PSS)",
        ours=("many pending", "peak PSS MB"),
        other=("ours", "few pending", "peak PSS MB"),
        goal=1.1,
    ),
    Goal(
        title="prune of 1 million, slowest statement in ms",
        ours=("prune", "slowest ms"),
        goal=1000,
    ),
    Goal(
        title="drain during the prune",
        ours=("prune", "drain meanwhile"),
        other=("ours", "full tables", "events/s"),
        goal=0.8,
        at_least=True,
    ),
    Goal(
        title="idle worker, statements per second",
        ours=("idle", "statements/s"),
        goal=3.0,
        stretch=1.0,
    ),
    Goal(
        title="idle worker, slowest statement in ms",
        ours=("idle", "slowest ms"),
        goal=1.0,
    ),
)
