"""Names of receivers by a part of them, as people type it into the filter of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signal_tasks import counting
from signal_tasks.models import FailureGroup
from signal_tasks.registry.registry import registry

#: Names that one part may stand for.
MAX_NAMES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The receivers that the text of a filter stands for; none if it is empty.

    Attributes:
        text: as it was typed.
        found: the text, if it is a name; else the names that have it as a part.
        is_cut: more than MAX_NAMES have it, and these are the first ones.
    """

    text: str = ""
    found: Sequence[str] = ()
    is_cut: bool = False

    @property
    def names(self) -> list[str]:
        """The names to look for; the text is always one, since nobody knows them all."""
        return sorted({self.text, *self.found}) if self.text else []

    @property
    def words(self) -> str:
        """The words for them, as ``of t.receiver``; empty for an empty filter."""
        if self.is_cut or len(self.found) > 1:
            which = (
                f"the first {len(self.found)} receivers" if self.is_cut else "receivers"
            )
            return f"of {which} with {self.text} in their name"
        return f"of {next(iter(self.found), self.text)}" if self.text else ""


def receivers_with(database: str, text: str) -> Named:
    """Return the receivers that a text stands for: it alone if it is the name of one.

    Else those with the text in their name, in any case, that have failed, or of which
    something is live or dead. Four statements of bounded cost; none for the name of a
    receiver of this process.
    """
    if not text or text in registry.known_names():
        return Named(text=text, found=[text] if text else [])
    stored = _stored_names(database)
    if text in stored:
        return Named(text=text, found=[text])
    # Compared here: what a database takes for the same letter depends on its collation.
    part = text.casefold()
    found = sorted(name for name in stored if part in name.casefold())
    return Named(text=text, found=found[:MAX_NAMES], is_cut=len(found) > MAX_NAMES)


def _stored_names(database: str) -> set[str]:
    groups = FailureGroup.objects.using(database).order_by()
    failed = groups.values_list("receiver", flat=True).distinct()
    dead, live = counting.dead(database), counting.loads(database)
    return {*failed, *dead.numbers, *live.receivers}
