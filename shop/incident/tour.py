"""The steps of the tour: what to do next, and how it stands now.

No step says more than the facts do: what somebody only looks at is done when they have
done what comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.utils.timesince import timesince

from shop.incident.facts import Facts


class Stand(StrEnum):
    """The state of one step."""

    DONE = "done"
    NEXT = "next"
    LATER = "later"
    SPARED = "spared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: its name, which the template knows, and how it stands."""

    name: str
    now: str
    stand: Stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """The facts, and the steps that they make."""

    facts: Facts
    steps: Sequence[Step]

    @property
    def next(self) -> int | None:
        """Return the number of the step to do next, or None at the end."""
        stands = [step.stand for step in self.steps]
        return stands.index(Stand.NEXT) + 1 if Stand.NEXT in stands else None


def tour_of(facts: Facts) -> Tour:
    """Return the tour as it stands."""
    return Tour(facts=facts, steps=list(_steps(facts)))


def _steps(facts: Facts) -> Iterator[Step]:
    found = False
    spared = _was_mended_in_time(facts)
    for name, done, now in _outline(facts):
        stand = Stand.DONE if done else Stand.LATER if found else Stand.NEXT
        if not done and spared and name in ("die", "look", "replay"):
            stand = Stand.SPARED
        found = found or stand is Stand.NEXT
        yield Step(name=name, now=now, stand=stand)


def _outline(facts: Facts) -> Iterator[tuple[str, bool, str]]:
    failed, acted = bool(facts.failures), facts.operation is not None
    mended = failed and not facts.mail_is_broken
    yield "break", failed or facts.mail_is_broken, _mail(facts)
    yield "order", bool(facts.orders), _orders(facts)
    yield "kill", facts.killed_at is not None, _workers(facts)
    yield "die", bool(facts.dead) or acted, _emails(facts)
    yield "look", (mended and bool(facts.dead)) or acted, _health(facts)
    yield "mend", mended, _mail(facts)
    yield "replay", acted and not facts.dead and mended, _operation(facts)
    yield "well", _is_well(facts), facts.summary


def _was_mended_in_time(facts: Facts) -> bool:
    ran = facts.failures and not facts.mail_is_broken and not facts.waiting
    return bool(ran and not facts.dead and not facts.operation)


def _is_well(facts: Facts) -> bool:
    ran = facts.orders and facts.failures and not facts.mail_is_broken
    return bool(
        ran and not facts.waiting and not facts.dead and facts.health["healthy"]
    )


def _mail(facts: Facts) -> str:
    return f"The mail server {'is down' if facts.mail_is_broken else 'answers'}."


def _orders(facts: Facts) -> str:
    if not facts.orders:
        return "No order yet."
    return f"{facts.orders} orders are confirmed; {facts.movements} have their stock."


def _workers(facts: Facts) -> str:
    names = ", ".join(facts.health["workers"]) or "none"
    told = f"Workers that have reported lately: {names}."
    if facts.killed_at is None:
        return told
    ago = timesince(facts.killed_at)
    return (
        f"One was killed {'just now' if ago.startswith('0') else ago + ' ago'}. {told}"
    )


def _emails(facts: Facts) -> str:
    return (
        f"{facts.failures} attempts have failed like that, in all. {facts.waiting} emails "
        f"wait to be tried again, {facts.dead} are dead."
    )


def _health(facts: Facts) -> str:
    return "The shop is healthy." if facts.health["healthy"] else "Not healthy:"


def _operation(facts: Facts) -> str:
    found = facts.operation
    if found is None:
        return f"{facts.dead} emails are dead; nobody has replayed them."
    by = f" by {found.by}" if found.by else ""
    told = f"A {found.kind}{by} is {found.state.value}: {found.done} of {found.total or 0}."
    return f"{told} {facts.dead} emails are dead."
