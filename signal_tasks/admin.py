"""A window on events, deliveries and workers: read-only, but for two verbs.

No page counts a whole table or lists children without bound. Each action is one
verb of the queryset, limited to what was ticked and to those who may.
"""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from signal_tasks.models import Attempt, Delivery, Event, Worker

#: Rows beyond which the admin says "many" instead of counting on.
MOST_COUNTED = 10_000
#: Characters of a payload, and children of a row, that a page shows.
MOST_CHARS = 20_000
MOST_CHILDREN = 50
#: Most deliveries that one action changes.
MOST_CHANGED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ``MOST_COUNTED`` rows."""

    @cached_property
    def count(self) -> int:
        """The number of rows, or ``MOST_COUNTED`` if there are more."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_COUNTED].count())


class WindowAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A model that can be looked at, and nothing else."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 50
    actions_on_bottom = False
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """What a search looks at: whole ids, whole names."""
        return (*self.ids, *self.names)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Compare an id as an id: Django would turn every row's into text first."""
        term = search_term.strip()
        if not term:
            return queryset, False
        fields: dict[str, object] = dict.fromkeys(self.names, term)
        with suppress(ValueError):
            fields = dict.fromkeys(self.ids, uuid.UUID(term))
        found = Q.create(list(fields.items()), connector=Q.OR)
        is_storable = term.isprintable()
        return (queryset.filter(found) if is_storable else queryset.none()), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows come from sends only."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        """State is changed by verbs, not by editing."""
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        """Rows go by ``prune`` only."""
        return False


@admin.register(Event)
class EventAdmin(WindowAdmin):
    """Events: what was sent."""

    list_display = ("id", "signal", "sent_at")
    ids = ("id",)
    names = ("signal",)
    search_help_text = _("The full id of an event, or the full name of a signal")
    ordering = ("-id",)
    fields = (
        "id",
        "signal",
        "sent_at",
        "cause_id",
        "shown_deliveries",
        "shown_headers",
        "shown_payload",
    )
    readonly_fields = ("shown_deliveries", "shown_headers", "shown_payload")

    @admin.display(description=_("deliveries"))
    def shown_deliveries(self, event: Event) -> SafeString:
        """The first deliveries of the event, each with a link."""
        rows = event.deliveries.order_by("receiver")[:MOST_CHILDREN]
        return format_html_join("", DELIVERY, (_linked(row) for row in rows))

    @admin.display(description=_("headers"))
    def shown_headers(self, event: Event) -> SafeString:
        """The headers, laid out."""
        return _laid_out(event.headers)

    @admin.display(description=_("payload"))
    def shown_payload(self, event: Event) -> SafeString:
        """The stored payload, laid out and cut."""
        return _laid_out(event.payload)


@admin.register(Delivery)
class DeliveryAdmin(WindowAdmin):
    """Deliveries: what is owed, what was done, what is dead."""

    list_display = (
        "receiver",
        "state",
        "reason",
        "attempts",
        "available_at",
        "finished_at",
        "id",
    )
    list_filter = ("state", "reason", "orphaned")
    ids = ("id", "event")
    names = ("receiver",)
    search_help_text = _(
        "The full id of a delivery or an event, or the full name of a receiver"
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
                    "attempts",
                    "orphaned",
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
                    "When the relay looks at it next, how often that was since the "
                    "last attempt, the number of the lease, and whether it is taken "
                    "by itself."
                ),
                "fields": ("relay_at", "relays", "lease", "alone"),
            },
        ),
    )
    readonly_fields = ("shown_failures",)
    actions = ("replay", "discard")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Whether this user may replay dead letters."""
        return _may(request, "replay_delivery")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Whether this user may discard what is owed or dead."""
        return _may(request, "discard_delivery")

    @admin.action(
        description=_("Replay selected dead deliveries"), permissions=["replay"]
    )
    def replay(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """Owe the ticked dead and discarded deliveries again."""
        self._change(request, queryset, "replay")

    @admin.action(description=_("Discard selected deliveries"), permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """End the ticked pending and dead deliveries."""
        self._change(request, queryset, "discard")

    def _change(
        self, request: HttpRequest, queryset: QuerySet[Delivery], verb: str
    ) -> None:
        possible = getattr(queryset.order_by(), f"{verb}able")()[:MOST_CHANGED]
        chosen = list(possible.only("pk", "receiver"))
        rows = Delivery.objects.using(queryset.db)
        changed = getattr(rows.filter(pk__in=[row.pk for row in chosen]), verb)()
        LogEntry.objects.log_actions(
            str(request.user.pk), chosen, CHANGE, change_message=f"{verb} in a list"
        )
        if not changed:
            self.message_user(request, NOTHING_TO[verb], messages.WARNING)
            return
        text = ngettext("%d delivery changed.", "%d deliveries changed.", changed)
        self.message_user(request, text % changed, messages.SUCCESS)

    @admin.display(description=_("failed attempts"))
    def shown_failures(self, delivery: Delivery) -> SafeString:
        """The latest failed attempts with their tracebacks."""
        latest = delivery.failures.order_by("-pk")[:MOST_CHILDREN]
        return format_html_join("", FAILURE, (_facts(attempt) for attempt in latest))


@admin.register(Worker)
class WorkerAdmin(WindowAdmin):
    """Workers and relays, and when each was last seen."""

    list_display = ("name", "started_at", "seen_at")
    ordering = ("-seen_at",)


NOTHING_TO = {
    "replay": _("Nothing to replay: only dead and discarded deliveries can be."),
    "discard": _("Nothing to discard: only pending and dead deliveries can be."),
}
DELIVERY = '<div><a href="{}">{}</a>: {}</div>'
FAILURE = (
    "<details><summary>Attempt {}, {}, {}: {}: {}</summary>"
    '<pre style="white-space: pre-wrap">{}</pre></details>'
)


def _linked(delivery: Delivery) -> tuple[str, str, str]:
    page = reverse("admin:signal_tasks_delivery_change", args=[delivery.pk])
    return page, delivery.receiver, delivery.get_state_display()


def _facts(attempt: Attempt) -> tuple[Any, ...]:
    when = attempt.failed_at.isoformat(sep=" ", timespec="seconds")
    return (
        attempt.number,
        attempt.outcome,
        when,
        attempt.error_type,
        attempt.error[:500],
        attempt.traceback[-MOST_CHARS:],
    )


def _laid_out(text: str) -> SafeString:
    if len(text) <= MOST_CHARS:
        with suppress(ValueError):  # what is not JSON is shown as it is
            text = json.dumps(json.loads(text), indent=2)
    shown = text[:MOST_CHARS] + (" ..." if len(text) > MOST_CHARS else "")
    return format_html('<pre style="white-space: pre-wrap">{}</pre>', shown)


def _may(request: HttpRequest, codename: str) -> bool:
    return bool(request.user.has_perm(f"signal_tasks.{codename}"))
