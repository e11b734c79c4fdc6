"""Report from the databases what is pending, what is wrong, which workers are alive.

Any process can do so, and the web process reports a stack without a live worker. Not
named ``health``: that is the public function ``signal_tasks.health``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from django.db import Error

from signal_tasks import counting
from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import from_now
from signal_tasks.db.timeouts import TooSlow, statements_within
from signal_tasks.error_text import line_of
from signal_tasks.health_report import HealthReport
from signal_tasks.healthcheck.notices import notices
from signal_tasks.healthcheck.problems import (
    oldest_waits,
    problems,
    reporters,
)
from signal_tasks.healthcheck.shortening import shortened
from signal_tasks.healthcheck.wording import clause
from signal_tasks.models import Worker
from signal_tasks.registry.registry import registry
from signal_tasks.states import State

#: No statement may take longer, where the database can end it (seconds).
MAX_SECONDS = 5.0
#: Of the pending ones, those that have failed before, have no worker, cannot be published.
PENDING_KEYS = ("retrying", "orphaned", "parked")
KEYS = (*State.values, *PENDING_KEYS)


def health() -> HealthReport:
    """Return counts by state and receiver, the oldest wait, the live workers.

    ``problems`` says what is wrong and what an operator has decided, a sentence each,
    with the command that mends it. ``healthy`` is true when nothing is wrong: what is
    paused, or a limit that has expired, is told and does not count. What is retrying
    (has failed and waits for its next attempt), orphaned or parked counts as pending too.

    Of what has finished, and of what is live, at most 100,000 deliveries each are
    counted: ``complete`` is false if there were more, and the numbers are too low then.
    So it is if an outbox could not be read, which is a problem: the others are told.

    ``rescued`` is the number of deliveries that relays have published late in the last
    five minutes, ``broker_errors`` what relays had to do with the broker meanwhile;
    if no worker is alive, what the last ones had.
    """
    seen = _Seen()
    for database in outbox_aliases():
        try:
            with statements_within(MAX_SECONDS, database):
                _look(seen, database)
        except TooSlow:
            seen.wrong.append(
                f"a statement on {database!r} took longer than {MAX_SECONDS:g} s and "
                "was stopped: is the database overloaded?"
            )
            seen.complete = False
        except Error as error:
            seen.wrong.append(
                f"the outbox {database!r} could not be read: {clause(line_of(error))}. "
                "Is its database up, and migrated?"
            )
            seen.complete = False
    totals = Counter(_no_counts())
    for counts in seen.receivers.values():
        totals.update(counts)
    report = {
        **totals,
        "oldest_pending_age_s": max(seen.ages, default=None),
        "workers": sorted({worker.name for worker in seen.workers}),
        "rescued": sum(worker.rescued for worker in seen.workers),
        "broker_errors": sorted(seen.errors - {""}),
        "receivers": seen.receivers,
        "complete": seen.complete,
        "healthy": not seen.wrong,
        "problems": [*seen.wrong, *seen.told],
    }
    return cast("HealthReport", report)


@dataclass(slots=True, kw_only=True)
class _Seen:
    """The parts of the report, filled in outbox by outbox."""

    receivers: dict[str, dict[str, int]] = field(
        default_factory=lambda: {
            each.name: _no_counts() for each in registry.receivers()
        }
    )
    complete: bool = True
    ages: list[float] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    errors: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def _look(seen: _Seen, database: str) -> None:
    loads = counting.loads(database)
    _count_live(seen, loads)
    _count_finished(seen, database)
    seen.ages += oldest_waits(database, loads).values()
    live = live_workers(database)
    seen.workers += live
    seen.errors |= {worker.broker_error for worker in reporters(database, live)}
    found = problems(database, live, loads)
    seen.wrong += [each.text for each in shortened(found)]
    seen.told += notices(database)


def without_relay() -> list[str]:
    """Return the aliases of the outboxes on which no relay is alive."""
    return [
        database
        for database in outbox_aliases()
        if not any(worker.runs_relay for worker in live_workers(database))
    ]


def _no_counts() -> dict[str, int]:
    return dict.fromkeys(KEYS, 0)


def _count_live(seen: _Seen, loads: counting.Loads) -> None:
    seen.complete = seen.complete and not loads.is_capped
    for receiver, load in loads.receivers.items():
        counts = seen.receivers.setdefault(receiver, _no_counts())
        for name in ("pending", "running", *PENDING_KEYS):
            counts[name] += getattr(load, name)


def _count_finished(seen: _Seen, database: str) -> None:
    """Count what finished last; of dead letters more, which are never too many to see."""
    finished = counting.finished(database)
    numbers = dict(finished.numbers)
    if finished.is_capped:
        seen.complete = False
        dead = counting.dead(database).numbers
        numbers = {key: n for key, n in numbers.items() if key[1] != State.DEAD}
        numbers |= {(receiver, State.DEAD.value): n for receiver, n in dead.items()}
    for (receiver, state), number in numbers.items():
        counts = seen.receivers.setdefault(receiver, _no_counts())
        # It may be a state of a newer release, during a deploy.
        counts[state] = counts.get(state, 0) + number


def live_workers(database: str) -> list[Worker]:
    """Return the workers and relays that have reported lately."""
    recently = from_now(-settings().WORKER_TTL)
    return list(Worker.objects.using(database).filter(seen_at__gte=recently))
