"""Say what has failed so far: it explains a receiver that "does not run"."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Exists, OuterRef, Q

from signal_tasks import counting
from signal_tasks.db.clock import from_now
from signal_tasks.doctor.findings import Finding, advice
from signal_tasks.error_text import one_line
from signal_tasks.models import Attempt, Delivery, UnsettledEvent
from signal_tasks.models.deliveries import IS_LIVE

#: Receivers that are told of, those with the most deliveries first.
MAX_TOLD = 3
#: Deliveries of a receiver among which one that has failed is looked for.
MAX_LOOKED_AT = 100
#: Events without ``settled`` that are counted.
MAX_LEFT_OVER = 1000
#: An event that is due for so long is looked at by no relay (seconds).
UNSEEN_AFTER = 60.0


def failed(alias: str) -> Iterator[Finding]:
    """Yield the receivers that fail: what is tried again, and what is dead."""
    loads = counting.loads(alias).receivers
    retrying = {name: load.retrying for name, load in loads.items() if load.retrying}
    for name, number in _most(retrying):
        yield _retrying(alias, name, number)
    for name, number in _most(dict(counting.dead(alias).numbers)):
        yield advice(
            "deliveries",
            f"{alias}: {name}: {number} dead, and not tried again",
            "See why: manage.py signal_tasks dead --group",
        )


def unsettled(alias: str) -> Iterator[Finding]:
    """Yield that events have settled of which nobody was told."""
    if number := _left_over(alias):
        yield advice(
            "deliveries",
            f"{alias}: events that have settled, and of which settled was not sent: "
            f"{number}",
            "If the log has settling_failed, mend what it tells: it is tried for seven "
            "days; if not, run a worker whose code connects the receivers of settled.",
        )


def _left_over(database: str) -> int:
    """Return the number of events that have settled and still wait, up to MAX_LEFT_OVER.

    They could not be sent twice, or no relay looks at them.
    """
    deliveries = Delivery.objects.using(database).filter(event_id=OuterRef("pk"))
    unseen = Q(check_at__lte=from_now(-UNSEEN_AFTER)) | Q(checks__gte=3)
    rows = UnsettledEvent.objects.using(database).filter(
        unseen, Exists(deliveries), ~Exists(deliveries.filter(IS_LIVE))
    )
    return len(rows.values_list("pk")[:MAX_LEFT_OVER])


def _most(numbers: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda each: (-each[1], each[0]))[:MAX_TOLD]


def _retrying(alias: str, name: str, number: int) -> Finding:
    text = f"{alias}: {name}: {number} failed, to be tried again"
    rows = counting.first_live(alias, name, limit=MAX_LOOKED_AT)
    failures = Attempt.last_of([row.pk for row in rows], database=alias)
    if not failures:
        return advice("deliveries", text, "See the worker's log.")
    last = max(failures.values(), key=lambda failure: failure.failed_at)
    error = one_line(f"{last.error_type}: {last.error}")
    remedy = f"Its traceback: manage.py signal_tasks inspect {last.delivery_id}"
    return advice("deliveries", f"{text}; the latest error: {error}", remedy)
