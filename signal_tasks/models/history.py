"""Counts of what workers and relays have done, in minutes, in hours, and since ever.

# Note [History]
Each process of a worker counts in memory and adds its counts to these rows every few
seconds, so they are right over any number of processes and restarts. One statement adds
to the current minute, to its hour, and to the total of each receiver; and to those of
``ALL``, the sum over all receivers. So nothing has to be rolled up later: minutes and
hours are deleted when they are old, and totals never decrease.

The database's clock says which minute it is when the counts are written. A count may be
late by the few seconds that it waited in memory, whatever the clocks of the workers say.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from signal_tasks.db.accumulate import Counts, UnixNow, accumulate

#: Name under which all receivers are counted together, and what has no receiver.
ALL = ""
#: Length of a row in seconds; the row of a total holds everything.
MINUTE, HOUR, TOTAL = 60, 3600, 0
STEPS = (MINUTE, HOUR, TOTAL)
#: How long minutes are kept.
KEEP_MINUTES = timedelta(days=2)
#: Rows that one call of ``prune`` deletes of each kind.
BATCH = 5000

#: Upper bounds of the bins of a time, in seconds; a last bin holds what is longer.
SECONDS = (
    *(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 3600.0),
)
#: The same of the number of attempts at a delivery.
ATTEMPTS = (1, 2, 3, 5, 10)

#: Outcomes of attempts; see ``docs/reference/metrics.md``.
OUTCOMES = ("succeeded", "retried", "deferred", "dead", "skipped")
#: What else is counted for a receiver, and for relays.
EVENTS = ("released", "fenced", "publication_failures")
RELAYS = ("published", "recovered", "rescued")
#: The bins of the three histograms, and the sums of what is counted in them.
WAIT = tuple(f"wait_{number}" for number in range(len(SECONDS) + 1))
RUN = tuple(f"run_{number}" for number in range(len(SECONDS) + 1))
TRIES = tuple(f"attempts_{number}" for number in range(len(ATTEMPTS) + 1))
SUMS = ("wait_seconds", "run_seconds")
WHOLE = (*OUTCOMES, *EVENTS, *RELAYS, "attempts", *TRIES, *WAIT, *RUN)
COLUMNS = (*WHOLE, *SUMS)

H = TypeVar("H", bound=models.Model)


class HistoryQuerySet(models.QuerySet[H]):
    """Rows of counts; see Note [History]."""

    def add(self, counts: Mapping[str, Counts]) -> None:
        """Add counts, given by receiver, to its minute, its hour and its total.

        Those of all receivers are added to ALL as well, which may have some of its own.
        A transaction of its own, of as few statements as the database allows.
        """
        total: dict[str, float] = {}
        for each in counts.values():
            for column, number in each.items():
                total[column] = total.get(column, 0) + number
        table = self.model._meta.db_table
        accumulate(table, {**counts, ALL: total}, STEPS, database=self.db)

    def prune(self, *, keep: timedelta | None) -> int:
        """Delete a batch of old minutes, and one of old hours; return their number.

        Hours are kept for ``keep``, or for ever; minutes not longer than KEEP_MINUTES.
        """
        minutes = KEEP_MINUTES if keep is None else min(keep, KEEP_MINUTES)
        deleted = self._delete_old(MINUTE, minutes)
        return deleted if keep is None else deleted + self._delete_old(HOUR, keep)

    def _delete_old(self, step: int, keep: timedelta) -> int:
        rows: HistoryQuerySet[H] = HistoryQuerySet(self.model, using=self.db)
        oldest = UnixNow() - int(keep.total_seconds())
        old = rows.filter(step=step, start__lt=oldest).order_by("start")
        ids = list(old.values_list("pk", flat=True)[:BATCH])
        if ids:
            rows.filter(pk__in=ids)._raw_delete(self.db)  # noqa: SLF001 - see ``prune``
        return len(ids)


class History(models.Model):
    """Counts of a receiver in one minute or hour, or since ever; see Note [History].

    ``start`` is the begin of the minute or hour in seconds since 1970, 0 for a total.
    The columns of the counts are named by the constants of this module.
    """

    receiver = models.CharField(max_length=255)
    step = models.IntegerField()
    start = models.BigIntegerField()

    objects: ClassVar[HistoryQuerySet[Any]] = HistoryQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("history")
        verbose_name_plural = _("history")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["receiver", "step", "start"], name="signal_tasks_one_count"
            )
        ]
        indexes = [
            models.Index(fields=["step", "start"], name="signal_tasks_history_start")
        ]

    def __str__(self) -> str:
        return f"{self.receiver or 'all receivers'} {self.step} {self.start}"


for _name in WHOLE:
    History.add_to_class(_name, models.BigIntegerField(default=0, db_default=0))
for _name in SUMS:
    History.add_to_class(_name, models.FloatField(default=0.0, db_default=0.0))
