"""Find what is wrong with the deliveries of one database.

Each problem says what it is about, and the command that mends it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from django.db.models import Count, Max

from signal_tasks.broker.config import celery_command
from signal_tasks.conf import settings
from signal_tasks.counting import Loads
from signal_tasks.db.clock import from_now
from signal_tasks.healthcheck.problem import Kind, Problem
from signal_tasks.healthcheck.waits import oldest_waits, overdue, unserved
from signal_tasks.healthcheck.wording import (
    COMMAND,
    MAX_NAMES,
    clause,
    deliveries,
    shortly,
    time_text,
)
from signal_tasks.models import (
    AuditEntry,
    Delivery,
    Gate,
    Operation,
    Worker,
)
from signal_tasks.states import OPEN, Breaker
from signal_tasks.steering.keys import Blockade, BlockedKey, blockades

#: An operation that no relay has moved for so long is stuck (seconds).
STUCK_SECONDS = 60.0
#: Without a live worker, the last report of the broker is told of for so long (seconds).
REPORTED_SECONDS = 300.0
#: Rows beyond which a sentence says "more than".
MAX_COUNTED = 10_000
#: ``verb`` of the audit entry of somebody who has seen the dead letters.
ACKNOWLEDGE = "acknowledge"


def problems(
    database: str, live: Collection[Worker], loads: Loads
) -> Iterator[Problem]:
    """Yield what makes this database's deliveries unhealthy.

    Args:
        database: its alias.
        live: workers that are alive.
        loads: what ``counting.loads`` returns, which pages show besides.
    """
    yield from _without_relay(database, live)
    yield from unserved(live, loads)
    when = "in the last five minutes" if live else "before its last report"
    yield from _broker(reporters(database, live), when)
    yield from _new_dead(database)
    yield from _orphans(loads)
    yield from _parked(loads)
    yield from _breakers(database)
    yield from _stuck(database)
    if loads.has_turns:
        yield from _blocked(database)
    yield from overdue(oldest_waits(database, loads))


def reporters(database: str, live: Collection[Worker]) -> Collection[Worker]:
    """Return the workers whose reports tell of the broker.

    These are the live ones. If there is none, those that were seen last: nobody knows
    anything later of the broker.
    """
    if live:
        return live
    lately = from_now(-REPORTED_SECONDS)
    return list(Worker.objects.using(database).filter(seen_at__gte=lately))


def _without_relay(database: str, live: Collection[Worker]) -> Iterator[Problem]:
    if not any(worker.runs_relay for worker in live):
        yield Problem(
            kind=Kind.NO_WORKER,
            page="workers/",
            text=f"no live worker or relay was seen on {database!r}; "
            f"start one: {celery_command()} worker",
        )


def _broker(reporting: Collection[Worker], when: str) -> Iterator[Problem]:
    for error in sorted({worker.broker_error for worker in reporting} - {""}):
        names = ", ".join(sorted(w.name for w in reporting if w.broker_error == error))
        yield Problem(
            kind=Kind.BROKER,
            page="workers/",
            text=f"the broker failed or was not reached by {names} {when}: {clause(error)}. "
            "Deliveries wait in the database until it answers",
        )


def _new_dead(database: str) -> Iterator[Problem]:
    since = acknowledged_at(database)
    dead = Delivery.objects.using(database).dead()
    if since is not None:
        dead = dead.filter(finished_at__gt=since)
    counted = dead.order_by("-finished_at")[: MAX_COUNTED + 1]
    found = counted.aggregate(number=Count("pk"), latest=Max("finished_at"))
    number = found["number"]
    if number <= settings().MAX_NEW_DEAD:
        return
    shown = f"more than {MAX_COUNTED}" if number > MAX_COUNTED else str(number)
    when = f"since {time_text(since)}" if since is not None else "and nobody has looked"
    yield Problem(
        kind=Kind.DEAD,
        page="dead/",
        number=number,
        latest=found["latest"],
        text=f"{shown} {deliveries(number)} died {when}. See why: {COMMAND} dead "
        f"--group; once you know: {COMMAND} {ACKNOWLEDGE}",
    )


def acknowledged_at(database: str) -> datetime | None:
    """Return when somebody last said to have seen the dead letters."""
    looks = AuditEntry.objects.using(database).filter(verb=ACKNOWLEDGE)
    return looks.order_by("-at").values_list("at", flat=True).first()


def _orphans(loads: Loads) -> Iterator[Problem]:
    for name, number in loads.numbers("unserved_orphans").items():
        yield Problem(
            kind=Kind.ORPHANS,
            subject=name,
            page=f"receivers/{name}/",
            text=f"no worker knows the receiver {name}; deliveries that wait for it: "
            f"{number}. Deploy the code that connects it, give the receiver that took its "
            f"place an alias, or: {COMMAND} discard --receiver {name}",
        )


def _parked(loads: Loads) -> Iterator[Problem]:
    for receiver, number in loads.numbers("parked").items():
        yield Problem(
            kind=Kind.PARKED,
            subject=receiver,
            page=f"receivers/{receiver}/",
            text=f"{number} {deliveries(number)} of {receiver} cannot be published: "
            f"{loads.of(receiver).why_parked}",
        )


def _breakers(database: str) -> Iterator[Problem]:
    gates = Gate.of_receivers(database)
    for gate in (each for each in gates if each.breaker != Breaker.CLOSED):
        since = f" since {time_text(gate.changed_at)}" if gate.changed_at else ""
        state = Breaker(gate.breaker).label.lower()
        yield Problem(
            kind=Kind.BREAKER,
            subject=gate.receiver,
            page=f"receivers/{gate.receiver}/",
            latest=gate.failing_since,
            text=f"the breaker of {gate.receiver} is {state}{since}, after "
            f"{gate.failures} {'failure' if gate.failures == 1 else 'failures'}; it "
            "closes by itself once a delivery succeeds. "
            f"See why: {COMMAND} dead --group --all --receiver {gate.receiver}",
        )


def _stuck(database: str) -> Iterator[Problem]:
    late = from_now(-STUCK_SECONDS)
    rows = Operation.objects.using(database).filter(
        state__in=OPEN, finished_at__isnull=True, next_step_at__lte=late
    )
    for operation in rows.order_by("created_at")[:MAX_NAMES]:
        yield Problem(
            kind=Kind.OPERATION,
            subject=str(operation.pk),
            page=f"operations/{operation.pk}/",
            text=f"the operation {operation} has not moved for a minute: is a relay "
            f"alive that knows its receiver? See: {COMMAND} operations {operation.pk}; "
            f"or end it: {COMMAND} operations {operation.pk} --cancel",
        )


def _blocked(database: str) -> Iterator[Problem]:
    for each in blockades(database, names=MAX_NAMES):
        is_one = each.number == 1
        yield Problem(
            kind=Kind.BLOCKED,
            subject=each.first.receiver,
            page=f"deliveries/{each.first.delivery_id}/" if is_one else "blocked/",
            number=each.number,
            latest=each.latest,
            text=_one_blocked(each.first) if is_one else _many_blocked(each),
        )


def _one_blocked(key: BlockedKey) -> str:
    more = "or more " if key.waiting >= MAX_COUNTED else ""
    return (
        f"{key.waiting} {more}{deliveries(key.waiting)} of {key.receiver} for the key "
        f"{shortly(key.key)!r} {'waits' if key.waiting == 1 else 'wait'} behind a dead "
        f"letter: {clause(key.error)}. "
        f"Have it run again: {COMMAND} replay {key.delivery_id}; "
        f"or let the others run: {COMMAND} skip {key.delivery_id}"
    )


def _many_blocked(blockade: Blockade) -> str:
    names = ", ".join(repr(shortly(name)) for name in blockade.names)
    more = blockade.number - len(blockade.names)
    receiver = blockade.first.receiver
    return (
        f"deliveries of {receiver} wait behind a dead letter in {blockade.number} keys: "
        f"{names}{f' and {more} more' if more else ''}. Why the first one died: "
        f"{clause(blockade.first.error)}. See each dead letter, to replay or skip it: "
        f"{COMMAND} blocked --receiver {receiver}"
    )
