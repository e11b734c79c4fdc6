"""An operator: replays dead letters, backfills a receiver, and looks at the outcome."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import Count

from chaos.environment import Environment, PromiseBroken
from chaos.models import Effect
from chaos.receivers import act_on_backfill, act_on_replay
from chaos.signals import operated
from signal_tasks import operations
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.models import Delivery, Operation
from signal_tasks.states import State

#: Deliveries of each operation: more than one batch of a backfill.
NUMBER = 250
REPLAYED, BACKFILLED = (
    f"{function.__module__}.{function.__qualname__}"
    for function in (act_on_replay, act_on_backfill)
)


def operate(env: Environment) -> None:
    """Open a replay of dead letters, and a backfill of the same events."""
    ids = _make_dead_letters(env)
    operations.replay(operations.Selection(ids=ids), canary=False, by="chaos")
    operations.backfill(
        BACKFILLED, since=timedelta(hours=1), canary=False, by=str(uuid.uuid4())
    )


def _make_dead_letters(env: Environment) -> list[uuid.UUID]:
    """Send events whose only delivery is dead; return the ids of the deliveries."""
    keys = [f"{uuid.UUID(int=env.rng.getrandbits(128))}" for _ in range(NUMBER)]
    with transaction.atomic():
        sent = operated.send_many(None, [{"key": key} for key in keys])
        rows = Delivery.objects.filter(event_id__in=sent)
        rows.filter(receiver=BACKFILLED).delete()
        ids = list(rows.values_list("pk", flat=True))
        rows.update(state=State.DEAD, next_check_at=None, finished_at=DatabaseNow())
    return ids


def expect_exact_operations(env: Environment) -> None:
    """Expect each operation done, its counts true, and each effect exactly once."""
    env.expect(_all_finished, "end of the operations", 120)
    for operation in Operation.objects.all():
        counts = (operation.done, operation.failed, operation.skipped)
        if operation.state != "done" or counts != (operation.total, 0, 0):
            raise PromiseBroken(
                f"{operation.kind} is {operation.state}, {operation.total}: {counts}"
            )
    replayed = Delivery.objects.filter(receiver=REPLAYED)
    backfilled = Delivery.objects.filter(receiver=BACKFILLED)
    if wrong := replayed.exclude(run=2).count():
        raise PromiseBroken(f"{wrong} dead letters were not replayed exactly once")
    done = Operation.objects.values_list("kind", "done")
    for kind, rows in (("replay", replayed), ("backfill", backfilled)):
        counted = sum(number for its_kind, number in done if its_kind == kind)
        if rows.count() != counted:
            raise PromiseBroken(f"{kind}: {counted} counted, {rows.count()} changed")
    env.expect(lambda: not _unfinished(), "end of the deliveries", 120)
    for kind, rows in (("replayed", replayed), ("backfilled", backfilled)):
        effects = Effect.objects.filter(kind=kind).values("key")
        doubled = effects.annotate(n=Count("pk")).filter(n__gt=1)
        if doubled.exists() or effects.count() != rows.count():
            raise PromiseBroken(f"{kind}: {effects.count()} effects of {rows.count()}")


def _all_finished() -> bool:
    return not Operation.objects.filter(finished_at__isnull=True).exists()


def _unfinished() -> bool:
    rows = Delivery.objects.filter(receiver__in=[REPLAYED, BACKFILLED])
    return bool(rows.exclude(state=State.SUCCEEDED).exists())
