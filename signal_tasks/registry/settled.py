"""The ``settled`` signals of this process, by the names of the signals that settle."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledEvent:
    """An event whose deliveries have all finished, as its row has it.

    ``outcomes`` holds the final state of each delivery by the name of its receiver.
    """

    id: uuid.UUID
    signal: str
    payload: str
    headers: str
    subject: str
    sent_at: datetime
    database: str
    outcomes: Mapping[str, str]


class Settled(Protocol):
    """A signal that is sent for events that have settled."""

    @property
    def is_heard(self) -> bool:
        """True if a receiver is connected to it, durable or inline."""

    @property
    def locks_keys(self) -> bool:
        """True if a send locks rows of keys until it commits."""

    def pass_on(self, event: SettledEvent) -> Mapping[str, BaseException]:
        """Send it for an event, in the transaction that is open.

        Return the errors of receivers that do not get it, by their names.
        """


class SettledSignals:
    """The ``settled`` signals of this process, for as long as they live."""

    def __init__(self) -> None:
        self._all: weakref.WeakValueDictionary[str, Settled] = (
            weakref.WeakValueDictionary()
        )

    def add(self, names: Iterable[str], settled: Settled) -> None:
        """Remember the signal that tells when events of these names have settled."""
        for name in names:
            self._all[name] = settled

    def __bool__(self) -> bool:
        """Return True if there may be any; False costs nothing."""
        return bool(self._all)

    def find(self, name: str) -> Settled | None:
        """Return the signal to send when events of that name have settled, if any."""
        settled = self._all.get(name)
        return settled if settled is not None and settled.is_heard else None

    def names(self) -> list[str]:
        """Return the names of the signals whose settling somebody here hears of."""
        return sorted(name for name in list(self._all) if self.find(name) is not None)


settled_signals = SettledSignals()
