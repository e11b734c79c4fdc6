"""The observations of a scenario, made from outside of the database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message

from chaos.scenarios.client import Acknowledged


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Everything that was seen from outside of the database."""

    initial_stock: Mapping[int, int]  # of each product, before the first visit
    messages: list[tuple[float, Message]]  # received by the mail server, with times
    injected: list[tuple[float, str]]  # the faults, with times
    acknowledged: list[Acknowledged]

    @property
    def arrivals(self) -> dict[str, list[float]]:
        """Return the times at which each message arrived, by its Message-ID."""
        arrivals: dict[str, list[float]] = {}
        for when, message in self.messages:
            arrivals.setdefault(str(message["Message-ID"]), []).append(when)
        return arrivals

    @property
    def emails(self) -> Counter[tuple[str, str]]:
        """Return recipient and subject of the emails; copies of one count once."""
        messages = self._distinct.values()
        return Counter((str(m["To"]), one_line(m["Subject"])) for m in messages)

    def message_ids(self, patterns: Iterable[str]) -> list[str]:
        """Return the Message-IDs of emails whose subject matches a pattern."""
        wanted = list(patterns)
        return [
            message_id
            for message_id, message in self._distinct.items()
            if any(matches(pattern, one_line(message["Subject"])) for pattern in wanted)
        ]

    @property
    def _distinct(self) -> dict[str, Message]:
        return {str(message["Message-ID"]): message for _, message in self.messages}


def one_line(header: str) -> str:
    """Return a header without its line breaks."""
    return " ".join(str(header).split())


def matches(pattern: str, subject: str) -> bool:
    """Return whether the subject is the pattern, with any text in place of ``{}``."""
    return bool(re.fullmatch(re.escape(pattern).replace(r"\{\}", ".*"), subject))
