"""Report a scenario on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from chaos.scenarios.invariants.checker import CheckResult
from chaos.scenarios.observations import Observations
from shop.terminal import show


def report(result: CheckResult, observed: Observations, counts: Counter[str]) -> None:
    """Show the injected faults, the invariants, the counts and the violations."""
    faults = Counter(name for _, name in observed.injected)
    rows = {
        **{f"fault: {name}": number for name, number in faults.items()},
        **counts,
        "operations acknowledged, not committed": len(result.uncommitted),
        "messages received": len(observed.messages),
        "  of these repeated, under their Message-ID": result.repeated,
        "  of these without a recorded cause": len(result.unexplained),
        **{f"deliveries {state}": number for state, number in result.states.items()},
    }
    show("", *_table(result), "")
    show(*(f"  {label:<50}{number:>5}" for label, number in rows.items()), "")
    show(*_violations(result))


def _table(result: CheckResult) -> Iterable[str]:
    yield f"  {'each':<27}{'':<58}{'number':>7}{'missing':>9}{'unexpected':>12}"
    for one in result.comparisons:
        missing, unexpected = one.missing.total(), one.unexpected.total()
        text = f"  {one.item:<27}{one.invariant:<58}"
        yield f"{text}{one.number:>7}{missing:>9}{unexpected:>12}"


def _violations(result: CheckResult) -> Iterable[str]:
    for one in result.comparisons:
        yield from (f"  MISSING {one.item}: {item}" for item in one.missing)
        yield from (f"  UNEXPECTED {one.item}: {item}" for item in one.unexpected)
    yield from (f"  NOT COMMITTED {' '.join(one)}" for one in result.uncommitted)
    yield from (f"  WITHOUT A CAUSE {text}" for text in result.unexplained)
