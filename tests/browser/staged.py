"""An incident of the last hour, for the pictures of the docs: its times are staged.

The emails fail as in ``incident``. Then the times of what happened in seconds are spread
over minutes, and an hour of work is written that nobody has waited for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Max, Min
from django.utils import timezone

from signal_tasks.models import Attempt, Delivery, Event, FailureGroup, History, Worker
from signal_tasks.models.history import ALL, MINUTE
from signal_tasks.states import State
from tests.browser.incident import hire, refuse_emails
from tests.browser.people import CANCELLATION, CONFIRMATION

INVENTORY = "products.receivers.update_inventory"
PROFILE = "customers.receivers.update_profile"
MINUTES = 60
#: So many minutes ago the mail server went down.
DOWN = 16
#: Seconds from the send to the end of each attempt, as retries have them.
ENDS = (1, 3, 8, 15, 32, 58, 97, 171)
#: Columns of the bins in which most waits and runs are.
USUAL = ("wait_5", "run_3")
SLOW = ("wait_8", "run_6")


def an_hour() -> None:
    """Do all of it."""
    hire()
    refuse_emails(confirmations=38, cancellations=6)
    group = FailureGroup.objects.get(receiver=CONFIRMATION)
    for number, delivery in enumerate(Delivery.objects.filter(state=State.DEAD)):
        _spread(delivery, ago=timedelta(minutes=DOWN - 2, seconds=-13 * number))
    group.note = "Mail provider has an incident, see their status page. Ada is on it."
    group.save(update_fields=["note"])
    for each in FailureGroup.objects.all():
        _see(each)
    History.objects.filter(step=MINUTE).delete()
    History.objects.bulk_create(_minutes(random.Random(7)))


def _spread(delivery: Delivery, ago: timedelta) -> None:
    """Give the failures of a delivery the pauses that its retries would have had."""
    sent = timezone.now() - ago
    Event.objects.filter(pk=delivery.event_id).update(sent_at=sent)
    worker = Worker.objects.filter(name__startswith="email").first()
    attempts = delivery.failures.order_by("pk")
    for attempt, seconds in zip(attempts, ENDS, strict=True):
        attempt.failed_at = sent + timedelta(seconds=seconds, milliseconds=attempt.pk)
        attempt.worker = worker.name if worker else ""
        attempt.save(update_fields=["failed_at", "worker"])
    Delivery.objects.filter(pk=delivery.pk).update(finished_at=attempt.failed_at)


def _see(group: FailureGroup) -> None:
    seen = Attempt.objects.filter(fingerprint=group.pk).aggregate(
        first_seen_at=Min("failed_at"), last_seen_at=Max("failed_at")
    )
    FailureGroup.objects.filter(pk=group.pk).update(**seen)


def _minutes(rng: random.Random) -> Iterator[History]:
    """Yield an hour of counts, with a mail server that is down in the end."""
    now = int(time.time()) // MINUTE * MINUTE
    for ago in range(1, MINUTES + 1):
        start, orders = now - ago * MINUTE, rng.randint(14, 30)
        is_down = ago <= DOWN
        counts = {
            INVENTORY: (orders, 0),
            PROFILE: (rng.randint(0, 6), 0),
            CONFIRMATION: (0, orders) if is_down else (orders, 0),
            CANCELLATION: (0, 2) if is_down else (rng.randint(0, 3), 0),
        }
        counts[ALL] = (
            sum(done for done, _ in counts.values()),
            sum(failed for _, failed in counts.values()),
        )
        for receiver, (done, failed) in counts.items():
            numbers = {"succeeded": done, "retried": failed}
            numbers |= dict.fromkeys(USUAL, done) | dict.fromkeys(SLOW, failed)
            yield History(receiver=receiver, step=MINUTE, start=start, **numbers)
