"""Keep from relays what waits for its turn; set right what nothing comes before.

# Note [Waiting]
A delivery whose turn has not come stays pending. A worker that meets it moves its next
check away, each time twice as far, so that relays do not publish all that waits behind
one key again and again. Nobody has to bring it back from there: whoever lets a turn go
makes the next delivery of the sequence due, in the same transaction.

So neither may miss the other. The worker locks the first turn of the sequence before it
moves what waits behind it; it leaves alone what waits behind a turn that somebody else
has locked, and looks again in a moment. Whoever deletes that turn thus either comes
first, or waits, and then sees everything that was moved away.

A turn whose delivery is done, or was deleted by hand, keeps nobody: the worker that finds
it deletes it. So does a relay, for turns that no worker meets.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db import connections, transaction

from signal_tasks.db import aside
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.sql import skip_locked
from signal_tasks.db.turns import Next, following
from signal_tasks.models import Delivery, Turn
from signal_tasks.models import Sequence as Counter
from signal_tasks.registry.registry import registry
from signal_tasks.states import State

#: What waits is published again after this time, then after twice that (seconds).
WAIT_AFTER, WAIT_MAX = 60.0, 3600.0
#: Turns, and sequences, that one pass of pruning looks at.
BATCH, SEQUENCES = 5000, 2000
#: States of deliveries that need no turn any more.
DONE = (State.SUCCEEDED, State.DISCARDED)
NOW = DatabaseNow()


class Kept(NamedTuple):
    """The result for deliveries that could not be claimed, or not be run.

    Those that are ``due``, whose turn may have come by now, and those that are
    ``undecided``, because somebody else has locked the first turn of their sequence.
    What is due ``are_first`` of their sequences, unless others were just deleted there.
    """

    due: list[Next]
    undecided: list[uuid.UUID]
    are_first: bool = True


def keep_waiting(ids: Collection[uuid.UUID], *, database: str) -> Kept:
    """Move away what waits for its turn; see Note [Waiting]. One transaction."""
    if connections[database].vendor != "postgresql":
        return _keep_waiting(ids, database)
    heads = aside.move_away(ids, database, after=WAIT_AFTER, longest=WAIT_MAX)
    locked = [head for head in heads if not head.is_undecided]
    if any(_is_over(head.state, head.receiver) for head in locked):
        return _keep_waiting(ids, database)
    named = set(ids)
    due = [h for h in locked if h.id in named and h.is_due and h.state == State.PENDING]
    due.sort(key=lambda head: head.position)
    undecided = [head.id for head in heads if head.is_undecided]
    return Kept([Next(head.id, head.isolated) for head in due], undecided)


def _keep_waiting(ids: Collection[uuid.UUID], database: str) -> Kept:
    """Do the same in several statements, and delete turns that nobody needs."""
    with transaction.atomic(using=database):
        places = Turn.objects.using(database).in_bulk(list(ids))
        heads = _locked_heads({turn.sequence_id for turn in places.values()}, database)
        stale = _stale(heads, database)
        if stale:
            Delivery.objects.using(database).give_up_turns(stale)
            return Kept(_due(places, database), [], are_first=False)
        first = {turn.sequence_id: turn.position for turn in heads.values()}
        behind = [
            pk
            for pk, turn in places.items()
            if turn.position > first.get(turn.sequence_id, turn.position)
        ]
        _move_away(behind, database)
        at_head = {pk: turn for pk, turn in places.items() if pk in heads}
        undecided = [pk for pk, t in places.items() if t.sequence_id not in first]
        return Kept(_due(at_head, database), undecided)


def _locked_heads(
    sequences: Collection[int], database: str
) -> Mapping[uuid.UUID, Turn]:
    """Lock the first turn of each sequence, unless somebody else has locked it."""
    heads = following(dict.fromkeys(sequences, 0), database)
    ids = [each.id for each in heads]
    turns = skip_locked(Turn.objects.using(database).filter(pk__in=ids))
    return {turn.pk: turn for turn in turns} if ids else {}


def _stale(turns: Iterable[uuid.UUID], database: str) -> list[uuid.UUID]:
    """Return the deliveries that have a turn and need none."""
    ids = list(turns)
    rows = Delivery.objects.using(database).filter(pk__in=ids)
    states = {pk: rest for pk, *rest in rows.values_list("pk", "state", "receiver")}
    return [pk for pk in ids if _is_over(*states.get(pk, (State.DISCARDED, "")))]


def _is_over(state: str, receiver: str) -> bool:
    if state != State.DEAD:
        return state in DONE
    known = registry.receiver(receiver)
    return known is not None and known.skips_dead


def _move_away(ids: Sequence[uuid.UUID], database: str) -> None:
    if ids:
        rows = Delivery.objects.using(database)
        due = rows.filter(pk__in=ids, state=State.PENDING, available_at__lte=NOW)
        locked = list(skip_locked(due))
        rows.schedule_publication(locked, after=WAIT_AFTER, longest=WAIT_MAX)


def _due(places: Mapping[uuid.UUID, Turn], database: str) -> list[Next]:
    """Return those that are pending and due, in the order of their turns."""
    if not places:
        return []
    rows = Delivery.objects.using(database).filter(
        pk__in=list(places), state=State.PENDING, available_at__lte=NOW
    )
    found = [Next(*row) for row in rows.values_list("pk", "isolated")]
    return sorted(found, key=lambda each: places[each.id].position)


# -- what relays delete ---------------------------------------------------------------


@dataclass(slots=True)
class Sweep:
    """The progress of a relay's search for turns and sequences that nobody needs.

    ``idle`` are sequences without turns, with the last position that each has given.
    """

    turn: uuid.UUID | None = None
    sequence: int = 0
    idle: Mapping[int, int] = field(default_factory=dict)


def sweep(state: Sweep, *, database: str) -> None:
    """Delete turns whose deliveries are done or gone, and sequences that are not used.

    Of the next few thousand of each, a transaction each.
    """
    _sweep_turns(state, database)
    if state.idle:
        _delete_idle(state.idle, database)
    state.idle = _idle(state, database)


def _sweep_turns(state: Sweep, database: str) -> None:
    turns = Turn.objects.using(database).order_by("pk")
    if state.turn is not None:
        turns = turns.filter(pk__gt=state.turn)
    ids = list(turns.values_list("pk", flat=True)[:BATCH])
    state.turn = ids[-1] if len(ids) == BATCH else None
    stale = _stale(ids, database) if ids else []
    if stale:
        with transaction.atomic(using=database):
            Delivery.objects.using(database).give_up_turns(stale)


def _idle(state: Sweep, database: str) -> Mapping[int, int]:
    """Return sequences that nothing waits in; they are deleted if they still are then."""
    counters = Counter.objects.using(database).filter(pk__gt=state.sequence)
    rows = counters.order_by("pk").values_list("pk", "last")
    last = dict(rows[:SEQUENCES])
    state.sequence = max(last) if len(last) == SEQUENCES else 0
    return _without_turns(last, database)


def _delete_idle(idle: Mapping[int, int], database: str) -> None:
    """Delete sequences that have given no position meanwhile, nor do so now.

    A sender holds the lock of its sequence, and one that comes later makes a new one.
    """
    counters = Counter.objects.using(database)
    with transaction.atomic(using=database):
        rows = skip_locked(counters.filter(pk__in=list(idle)))
        locked = dict(rows.values_list("pk", "last"))
        same = {pk: last for pk, last in locked.items() if last == idle[pk]}
        doomed = _without_turns(same, database)
        if doomed:
            rows = counters.filter(pk__in=list(doomed))
            rows._raw_delete(database)  # noqa: SLF001 - deletes without fetching


def _without_turns(sequences: Mapping[int, int], database: str) -> dict[int, int]:
    heads = following(dict.fromkeys(sequences, 0), database)
    used = {each.sequence for each in heads}
    return {pk: last for pk, last in sequences.items() if pk not in used}
