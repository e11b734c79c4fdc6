"""What an entry of the books is made of, and what was seen from outside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message

from chaos.scenarios.client import Yes


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One story: how often it happened, and whether what follows from it is there."""

    story: str
    what: str
    happened: int
    missing: Counter[object] = field(default_factory=Counter)
    surplus: Counter[object] = field(default_factory=Counter)

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing and nothing is too much."""
        return not self.missing and not self.surplus


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What was seen from outside of the database."""

    opening: Mapping[int, int]  # the stock of each product before the first visit
    messages: list[tuple[float, Message]]  # all that the mail server took, and when
    made: list[tuple[float, str]]  # the faults, and when
    said: list[Yes]

    @property
    def copies(self) -> dict[str, list[float]]:
        """When each message arrived, as often as it did, by its Message-ID."""
        arrivals: dict[str, list[float]] = {}
        for when, message in self.messages:
            arrivals.setdefault(str(message["Message-ID"]), []).append(when)
        return arrivals

    @property
    def letters(self) -> Counter[tuple[str, str]]:
        """To whom and about what, each letter once however often it came."""
        known = self._distinct.values()
        return Counter((str(m["To"]), plain(m["Subject"])) for m in known)

    def about(self, patterns: Iterable[str]) -> list[str]:
        """The Message-IDs of letters whose subject fits one of these."""
        known, wanted = self._distinct.items(), list(patterns)
        return [
            i for i, m in known if any(fits(p, plain(m["Subject"])) for p in wanted)
        ]

    @property
    def _distinct(self) -> dict[str, Message]:
        return {str(message["Message-ID"]): message for _, message in self.messages}


def compare(
    story: str,
    what: str,
    must: Iterable[object],
    there: Iterable[object],
    may: Iterable[object] = (),
) -> Entry:
    """An entry of what must be there, what may be besides, and what is."""
    owed, found = Counter(must), Counter(list(there))
    allowed = owed | Counter(may)
    return Entry(
        story=story,
        what=what,
        happened=owed.total(),
        missing=owed - found,
        surplus=found - allowed,
    )


def plain(header: str) -> str:
    """A header on one line."""
    return " ".join(str(header).split())


def fits(pattern: str, subject: str) -> bool:
    """Whether the subject is this one, with anything in the place of ``{}``."""
    return bool(re.fullmatch(re.escape(pattern).replace(r"\{\}", ".*"), subject))
