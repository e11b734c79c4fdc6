"""Judge a step of a canary; see Note [Canary] in ``relay.operating``."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, CharField, Count, Exists, F, OuterRef, Q, Value, When

from signal_tasks.error_text import one_line
from signal_tasks.models import Attempt, Delivery, Operation, OperationItem
from signal_tasks.states import State

#: The share of a step that has to succeed.
ENOUGH = 0.95
#: Failed attempts of which the most frequent error is told.
MAX_ERRORS = 1000
#: Rows that one statement changes.
BATCH = 1000
FAILURES = (Attempt.Consequence.RETRIED, Attempt.Consequence.DEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The outcome of a step.

    Attributes:
        may_go_on: None while it has to be waited for.
        bad: deliveries that were changed and have failed again.
        error: a sentence about the most frequent error.
    """

    may_go_on: bool | None
    bad: int = 0
    error: str = ""


def judge(operation: Operation, database: str) -> Judgement:
    """Judge the current step by the deliveries that it has changed.

    Mark the items that have failed, unless the step has to be waited for. In the
    caller's transaction. Those that could not be changed say nothing of the receiver.
    """
    items = OperationItem.objects.using(database).filter(
        operation_id=operation.pk,
        step=operation.step,
        state=OperationItem.State.CHANGED,
    )
    rows = _with_outcome(database, items)
    counts = dict(rows.values_list("outcome").annotate(n=Count("pk")).order_by())
    changed = items.count()
    good, bad = counts.get("good", 0), counts.get("bad", 0)
    known = sum(counts.values())  # others were pruned, long after they had finished
    if bad > changed * (1 - ENOUGH):
        may_go_on = False
    elif good >= known * ENOUGH:
        may_go_on = True
    else:
        return Judgement(may_go_on=None)
    ids = list(rows.filter(outcome="bad").values_list("pk", flat=True))
    error = "" if may_go_on else _most_frequent(ids, database)
    for start in range(0, len(ids), BATCH):
        some = items.filter(pk__in=ids[start : start + BATCH])
        some.update(state=OperationItem.State.FAILED)
    return Judgement(may_go_on=may_go_on, bad=bad, error=error)


def _with_outcome(database: str, items: Any) -> Any:
    """Return the deliveries of these items, each with the first outcome of its run."""
    failures = Attempt.objects.using(database).filter(
        delivery_id=OuterRef("pk"), run=OuterRef("run"), consequence__in=FAILURES
    )
    outcome = Case(
        When(Exists(failures), then=Value("bad")),
        When(Q(state=State.DEAD) | Q(state=State.DISCARDED), then=Value("bad")),
        When(state=State.SUCCEEDED, then=Value("good")),
        default=Value("open"),
        output_field=CharField(),
    )
    rows = Delivery.objects.using(database)
    return rows.filter(pk__in=items.values("delivery_id")).annotate(outcome=outcome)


def _most_frequent(ids: Sequence[uuid.UUID], database: str) -> str:
    attempts = Attempt.objects.using(database).filter(
        delivery_id__in=ids[:MAX_ERRORS],
        run=F("delivery__run"),
        consequence__in=FAILURES,
    )
    fields = ("fingerprint", "error_type", "error")
    found = list(attempts.order_by("pk").values_list(*fields)[:MAX_ERRORS])
    if not found:  # discarded, by the receiver's on_missing or by an operator
        return "They were discarded."
    keys = [group or f"{kind}: {text}" for group, kind, text in found]
    ((key, times),) = Counter(keys).most_common(1)
    group, kind, text = found[keys.index(key)]
    often = "once" if times == 1 else f"{times} times"
    told = f"The most frequent error, {often}: {one_line(f'{kind}: {text}')}"
    return f"{told} (failure group {group})" if group else told
