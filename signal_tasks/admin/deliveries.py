"""The admin of deliveries, and the actions on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from signal_tasks import operations
from signal_tasks.admin.confirmation import ConfirmedActions
from signal_tasks.admin.filters import GroupFilter, ReceiverFilter
from signal_tasks.admin.holds import held_back_by
from signal_tasks.admin.window import (
    MAX_CHARS,
    MAX_CHILDREN,
    MAX_COUNTED,
    BoundedList,
    LargeWindowAdmin,
    latest,
    may,
)
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.error_text import one_line
from signal_tasks.models import Attempt, Delivery
from signal_tasks.operations import Selection
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.states import LIVE, State

#: Characters of an error that a list shows.
MAX_ERROR = 100
#: Parameter of the list's address that names a failure group.
GROUP = "group"
#: Parameters of the list's address, and what each is in a selection. The last ones
#: choose a page or an order, and no rows.
SELECTING = {
    "state__exact": "state",
    "reason__exact": "reason",
    "receiver": "receiver",
    GROUP: "fingerprint",
}
NOT_SELECTING = ("o", "p", "all", "e")


class DeliveryList(BoundedList):
    """A page of deliveries, with the last failure of each in one statement."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, then the failures of what is on it."""
        super().get_results(request)
        rows: Any = list(self.result_list)
        database = self.queryset.db
        ids = [row.pk for row in rows]
        failures = operations.last_failures(ids, database=database)
        for row in rows:
            row.last_failure = failures.get(row.pk)
        self.result_list = rows


@admin.register(Delivery)
class DeliveryAdmin(ConfirmedActions, LargeWindowAdmin):
    """Deliveries, and the actions on them."""

    list_display = ("receiver", "shown_state", "last_error", "finished_at")
    list_filter = ("state", "reason", "orphaned", ReceiverFilter, GroupFilter)
    ids = ("id", "event")
    names = ("receiver",)
    subjects = ("event__subject",)
    search_help_text = _(
        "The full id of a delivery or an event, the full name of a receiver, or the "
        "object that the event is about, as app.model:pk"
    )
    ordering = ("-id",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "event",
                    "receiver",
                    "state",
                    "reason",
                    "run",
                    "attempts",
                    "orphaned",
                    "parked",
                    "shown_wait",
                    "merged",
                    "available_at",
                    "finished_at",
                    "shown_failures",
                )
            },
        ),
        (
            _("Internals"),
            {
                "classes": ("collapse",),
                "description": _(
                    "When a relay looks at it next, how often it was published since "
                    "the last attempt, the token of its lease, the worker that "
                    "claimed it, and whether it is claimed as the only one."
                ),
                "fields": (
                    "next_check_at",
                    "publish_count",
                    "lease",
                    "claimed_by",
                    "isolated",
                ),
            },
        ),
    )
    readonly_fields = ("shown_failures", "shown_wait")
    children = MappingProxyType({"shown_failures": "view_attempt"})
    actions = ("replay", "discard")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may replay dead letters."""
        return may(request, "replay_delivery")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may discard pending and dead deliveries."""
        return may(request, "discard_delivery")

    @admin.action(
        description=_("Replay selected dead deliveries"), permissions=["replay"]
    )
    def replay(
        self, request: HttpRequest, queryset: DeliveryQuerySet[Delivery]
    ) -> HttpResponse | None:
        """Ask, then have the dead and discarded ones run again."""
        return self.confirm(request, "replay", partial(self._chosen, request, queryset))

    @admin.action(description=_("Discard selected deliveries"), permissions=["discard"])
    def discard(
        self, request: HttpRequest, queryset: DeliveryQuerySet[Delivery]
    ) -> HttpResponse | None:
        """Ask, then finish the pending and dead ones."""
        select = partial(self._chosen, request, queryset)
        return self.confirm(request, "discard", select)

    def _chosen(
        self, request: HttpRequest, queryset: DeliveryQuerySet[Delivery]
    ) -> Sequence[Selection] | None:
        """Return the ticked deliveries, or all of the filtered list."""
        if request.POST.get("select_across") == "1":
            filtered = self._filtered(request)
            if filtered is not None:
                return [filtered]
        ids = tuple(queryset.order_by().values_list("pk", flat=True)[: MAX_COUNTED + 1])
        if len(ids) > MAX_COUNTED:
            self.message_user(request, TOO_MANY, messages.ERROR)
            return None
        return [Selection(ids=ids)] if ids else None

    def _filtered(self, request: HttpRequest) -> Selection | None:
        """Return what the list is filtered by, or None if no selection says it."""
        given = {
            key: text for key, text in request.GET.items() if key not in NOT_SELECTING
        }
        wanted = self._searched(str(given.pop("q", "")).strip())
        if wanted is None or outbox_aliases() != [self._database(request)]:
            return None
        for key, text in given.items():
            name = SELECTING.get(key)
            if name is None or wanted.setdefault(name, text) != text:
                return None
        return Selection(**wanted)

    def _searched(self, term: str) -> dict[str, Any] | None:
        if not term:
            return {}
        (field, *others), value = self._wanted(term).keys(), term
        if others or field not in SEARCHED:
            return None
        return {SEARCHED[field]: value}

    def _database(self, request: HttpRequest) -> str:
        return str(self.get_queryset(request).db)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that knows the last failures."""
        return DeliveryList

    def bounded(
        self, rows: QuerySet[Any], asked: Mapping[str, str], term: str
    ) -> tuple[QuerySet[Any], object]:
        """Look at live deliveries, dead letters and failure groups by their indexes."""
        state = asked.get("state__exact")
        if GROUP in asked:
            return rows, None
        if state in LIVE or asked.get("orphaned__exact") == "1":
            return rows.filter(finished_at__isnull=True), None
        if state != State.DEAD:
            return super().bounded(rows, asked, term)
        dead = Delivery.objects.using(rows.db).dead()
        receiver = asked.get("receiver")
        if receiver is not None:
            dead = dead.filter(receiver=receiver)
        return latest(rows, dead, "finished_at")

    def get_list_display(self, request: HttpRequest) -> Any:
        """Leave out what errors say for those who may not view attempts."""
        names = super().get_list_display(request)
        if may(request, "view_attempt"):
            return names
        return [name for name in names if name != "last_error"]

    @admin.display(description=_("state"), ordering="state")
    def shown_state(self, delivery: Delivery) -> str:
        """The state with its reason, the attempts, and the run, if there were several."""
        parts: list[Any] = [
            delivery.get_state_display(),
            delivery.get_reason_display(),
        ]
        attempts = delivery.attempts
        if attempts:
            parts.append(ngettext("%d attempt", "%d attempts", attempts) % attempts)
        if delivery.run > 1:
            parts.append(_("run %d") % delivery.run)
        if delivery.orphaned:
            parts.append(_("orphaned"))
        return ", ".join(str(part) for part in parts if part)

    @admin.display(description=_("held back by"))
    def shown_wait(self, delivery: Delivery) -> SafeString:
        """The pause, limit, breaker or earlier delivery of its key that it waits for."""
        return held_back_by(delivery)

    @admin.display(description=_("last error"))
    def last_error(self, delivery: Any) -> str:
        """The type and the beginning of the last failure's text."""
        failure: Attempt | None = delivery.last_failure
        if failure is None:
            return "-"
        text = one_line(f"{failure.error_type}: {failure.error}")
        return text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]} ..."

    @admin.display(description=_("failed attempts"))
    def shown_failures(self, delivery: Delivery) -> SafeString:
        """The latest failed attempts with their tracebacks."""
        latest = delivery.failures.order_by("-pk")[:MAX_CHILDREN]
        return format_html_join("", FAILURE, (_facts(attempt) for attempt in latest))


TOO_MANY = _(
    "These are more than 10,000 deliveries, and no selection says which. Filter by "
    "receiver, state, reason or failure group only, or search for a subject."
)
SEARCHED = {"receiver": "receiver", "event__subject": "subject"}
FAILURE = (
    "<details><summary>Run {}, attempt {}, {}, {}: {}: {}</summary>"
    '<pre style="white-space: pre-wrap">{}</pre></details>'
)


def _facts(attempt: Attempt) -> tuple[Any, ...]:
    when = attempt.failed_at.isoformat(sep=" ", timespec="seconds")
    times = f" {attempt.times} times" if attempt.times > 1 else ""
    return (
        attempt.run,
        attempt.number,
        attempt.consequence + times,
        when,
        attempt.error_type,
        attempt.error[:500],
        attempt.traceback[-MAX_CHARS:],
    )
