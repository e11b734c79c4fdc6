"""Compare the items that must exist with those that do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of checking one invariant for all items of a kind."""

    item: str
    invariant: str
    number: int
    missing: Counter[object] = field(default_factory=Counter)
    unexpected: Counter[object] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Return whether nothing is missing and nothing unexpected exists."""
        return not self.missing and not self.unexpected


def compare(
    item: str,
    invariant: str,
    expected: Iterable[object],
    found: Iterable[object],
    allowed: Iterable[object] = (),
) -> Comparison:
    """Compare what must exist, and what may exist besides, with what was found."""
    required, existing = Counter(expected), Counter(list(found))
    return Comparison(
        item=item,
        invariant=invariant,
        number=required.total(),
        missing=required - existing,
        unexpected=existing - (required | Counter(allowed)),
    )
