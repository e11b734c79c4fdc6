"""PromiseBroken engines, to show that the suite would notice: ``--mutation <name>``.

A suite that cannot fail shows nothing. Each mutation takes one thing away that a
promise rests on, from outside, and names a fault under which that must be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.crash_points import found


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is put in the place of what, and the fault that shows it."""

    where: str
    instead: Callable[..., Any]
    fault: str


def nothing_claimed(*_: object) -> tuple[list[Any], int]:
    """The relay finds nothing that is due."""
    return [], 0


def nothing_recovered(*_: object) -> int:
    """The relay finds no lease that is over."""
    return 0


def any_lease(done: Sequence[tuple[Any, int]], *, database: str) -> int:
    """Whoever comes last writes the end, whatever lease it holds."""
    from signal_tasks.models import Delivery

    rows = Delivery.objects.using(database).filter(pk__in=[pk for pk, _ in done])
    return int(rows.end("succeeded"))


def take_anything(rows: Any, ids: Any, *, names: Any, **_: object) -> list[Any]:
    """Every copy of a message runs, whatever the state."""
    return list(rows.filter(pk__in=ids, receiver__in=names))


MUTATIONS = {
    "no-relay": Mutation(
        "signal_tasks.relay:_claim", nothing_claimed, "crash-committed"
    ),
    "no-recovery": Mutation(
        "signal_tasks.relay:recover", nothing_recovered, "crash-taken"
    ),
    "no-guard": Mutation(
        "signal_tasks.querysets:DeliveryQuerySet.take", take_anything, "copies"
    ),
    "no-fence": Mutation("signal_tasks.settlement:succeed", any_lease, "worker-paused"),
}


def commit(name: str) -> None:
    """Break the engine of this process."""
    mutation = MUTATIONS[name]
    holder, attribute = found(mutation.where)
    setattr(holder, attribute, mutation.instead)
