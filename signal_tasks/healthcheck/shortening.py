"""Tell a person of many problems of one kind in a few sentences.

Programs, and those who are told of each problem by itself, get all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from signal_tasks.healthcheck.problem import Kind, Problem
from signal_tasks.healthcheck.wording import MAX_NAMES, listed


def shortened(found: Iterable[Problem]) -> Iterator[Problem]:
    """Yield the first MAX_NAMES problems of each kind, and one that names the others."""
    kinds: dict[Kind, list[Problem]] = {}
    for problem in found:
        kinds.setdefault(problem.kind, []).append(problem)
    for kind, alike in kinds.items():
        if len(alike) <= MAX_NAMES + 1:  # the last one takes no more than its number
            yield from alike
            continue
        yield from alike[:MAX_NAMES]
        yield _others(kind, alike[MAX_NAMES:])


def _others(kind: Kind, others: list[Problem]) -> Problem:
    subjects = {each.subject for each in others} - {""}
    names = f": {listed(subjects)}" if subjects else ""
    text = f"{len(others)} more problems of this kind ({kind}){names}"
    return Problem(kind=kind, number=len(others), text=text)
