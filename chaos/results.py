"""The result of a fault, and a second try for one that came too late.

On a busy machine a fault may come when there is nothing left to hurt. That shows nothing, so
it is injected once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.checker import CheckResult


@dataclass(kw_only=True)
class FaultResult:
    """The result of one fault: a row of the report."""

    fault: str
    title: str
    check: CheckResult
    seconds: float
    slowest: float = 0.0
    refused: int = 0
    injected: list[str] = field(default_factory=list)
    came_too_late: bool = False  # nothing else is wrong
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Return whether every promise was kept."""
        return self.check.valid


def run_until_injected(
    run: Callable[[], FaultResult], again: Callable[[], FaultResult]
) -> FaultResult:
    """Run a fault, and again if it came too late; return the last result."""
    result = run()
    if not result.came_too_late:
        return result
    (why,) = result.check.violations
    result = again()
    result.notes.insert(0, f"at the second try: {why}")
    return result
