"""A fault that came too late is injected once more, and nothing else is."""

from __future__ import annotations

import pytest

from chaos.checker import CheckResult
from chaos.results import FaultResult, run_until_injected

LATE = "the fault was not injected: no crash within 60 s"


def result(*violations: str) -> FaultResult:
    return FaultResult(
        fault="crash",
        title="a crash",
        check=CheckResult(violations=list(violations)),
        seconds=1.0,
        came_too_late=violations == (LATE,),
    )


@pytest.mark.parametrize(
    ("results", "passed", "notes"),
    [
        ([result()], True, []),
        ([result("lost")], False, []),
        ([result(LATE), result()], True, [f"at the second try: {LATE}"]),
        ([result(LATE), result("lost")], False, [f"at the second try: {LATE}"]),
        ([result(LATE), result(LATE)], False, [f"at the second try: {LATE}"]),
    ],
)
def test_it_is_tried_twice(
    results: list[FaultResult], passed: bool, notes: list[str]
) -> None:
    remaining = iter(results)
    told = run_until_injected(lambda: next(remaining), lambda: next(remaining))
    assert (told.passed, told.notes) == (passed, notes)
    assert next(remaining, None) is None
