"""The table of the books, for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from chaos.scenarios.invariants.all import Books
from chaos.scenarios.invariants.comparison import Observations
from shop.terminal import show


def report(books: Books, observations: Observations, counts: Counter[str]) -> None:
    """Show what was broken, how the books stand, and what does not balance."""
    made = Counter(name for _, name in observations.made)
    rows = {
        **{f"broken: {name}": n for name, n in made.items()},
        **counts,
        "said to be done, and not done": len(books.forgotten),
        "messages received": len(observations.messages),
        "  of these again, under their Message-ID": books.repeated,
        "  of these without a recorded cause": len(books.unexplained),
        **{f"deliveries {state}": n for state, n in books.states.items()},
    }
    show("", *_table(books), "")
    show(*(f"  {label:<50}{count:>5}" for label, count in rows.items()), "")
    show(*_violations(books))


def _table(books: Books) -> Iterable[str]:
    yield f"  {'each':<27}{'':<58}{'number':>7}{'missing':>9}{'too many':>10}"
    for entry in books.entries:
        missing, surplus = entry.missing.total(), entry.surplus.total()
        told = f"  {entry.story:<27}{entry.what:<58}"
        yield f"{told}{entry.happened:>7}{missing:>9}{surplus:>10}"


def _violations(books: Books) -> Iterable[str]:
    for entry in books.entries:
        yield from (f"  MISSING {entry.story}: {what}" for what in entry.missing)
        yield from (f"  TOO MANY {entry.story}: {what}" for what in entry.surplus)
    yield from (f"  FORGOTTEN {' '.join(yes)}" for yes in books.forgotten)
    yield from (f"  WITHOUT A CAUSE {what}" for what in books.unexplained)
