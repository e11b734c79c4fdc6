"""The admin: read-only pages of events, deliveries and workers, with two actions.

No page counts a whole table, filters by what the lists do not offer, or lists children
without bound. Rows of another model are shown to those who may view that model. Each
action calls ``operations``, for the ticked rows, if the user has the permission for it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import SuspiciousOperation
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from signal_tasks import operations
from signal_tasks.models import Attempt, Delivery, Event, Worker
from signal_tasks.operations import Operation, Selection
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.stored_json import shown

#: Rows beyond which the admin says "many" instead of counting on.
MAX_COUNTED = 10_000
#: Characters of a payload, and children of a row, that a page shows.
MAX_CHARS = 20_000
MAX_CHILDREN = 50
#: Most deliveries that one action changes.
MAX_CHANGED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ``MAX_COUNTED`` rows."""

    @cached_property
    def count(self) -> int:
        """The number of rows, or ``MAX_COUNTED`` if there are more."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MAX_COUNTED].count())


class WindowAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A read-only model."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 50
    actions_on_bottom = False
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    #: Fields with rows of another model, and the permission to view those.
    children: Mapping[str, str] = MappingProxyType({})

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Leave out the rows of models that this user may not view."""
        hidden = {name for name, may in self.children.items() if not _may(request, may)}
        return [
            (title, {**rest, "fields": [n for n in rest["fields"] if n not in hidden]})
            for title, rest in super().get_fieldsets(request, obj)
        ]

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """Allow what the lists offer: anything else would read a whole table."""
        field, _, kind = lookup.partition("__")
        offered = field in self.list_filter and kind in ("exact", "isnull")
        return offered and value.isprintable()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Refuse ticked rows that are no ids, which a page of ours never sends."""
        try:
            for ticked in request.POST.getlist(ACTION_CHECKBOX_NAME):
                uuid.UUID(ticked)
        except ValueError as error:
            raise SuspiciousOperation("This is not the id of a row.") from error
        return super().changelist_view(request, extra_context)

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the searched fields: whole ids, whole names."""
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
    """Events."""

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
    children = MappingProxyType({"shown_deliveries": "view_delivery"})

    @admin.display(description=_("deliveries"))
    def shown_deliveries(self, event: Event) -> SafeString:
        """The first deliveries of the event, each with a link."""
        rows = event.deliveries.order_by("receiver")[:MAX_CHILDREN]
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
    """Deliveries, and the actions on them."""

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
                    "parked",
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
    readonly_fields = ("shown_failures",)
    children = MappingProxyType({"shown_failures": "view_attempt"})
    actions = ("replay", "discard")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may replay dead letters."""
        return _may(request, "replay_delivery")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may discard pending and dead deliveries."""
        return _may(request, "discard_delivery")

    @admin.action(
        description=_("Replay selected dead deliveries"), permissions=["replay"]
    )
    def replay(
        self, request: HttpRequest, queryset: DeliveryQuerySet[Delivery]
    ) -> None:
        """Make the ticked dead and discarded deliveries pending again."""
        self._change(request, queryset.replayable(), operations.replay)

    @admin.action(description=_("Discard selected deliveries"), permissions=["discard"])
    def discard(
        self, request: HttpRequest, queryset: DeliveryQuerySet[Delivery]
    ) -> None:
        """Finish the ticked pending and dead deliveries."""
        self._change(request, queryset.discardable(), operations.discard)

    def _change(
        self,
        request: HttpRequest,
        possible: QuerySet[Delivery],
        operation: Callable[..., Operation],
    ) -> None:
        ticked = possible.order_by()[:MAX_CHANGED]
        chosen = list(ticked.only("pk", "receiver"))
        verb = operation.__name__
        changed = 0
        if chosen:
            selection = Selection(ids=[row.pk for row in chosen])
            opened = operation(selection, by=request.user)
            changed = opened.work_off().total or 0
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
        latest = delivery.failures.order_by("-pk")[:MAX_CHILDREN]
        return format_html_join("", FAILURE, (_facts(attempt) for attempt in latest))


@admin.register(Worker)
class WorkerAdmin(WindowAdmin):
    """Workers and relays, what each consumes, and when it was last seen."""

    list_display = ("name", "queues", "started_at", "seen_at")
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
    times = f" {attempt.times} times" if attempt.times > 1 else ""
    return (
        attempt.number,
        attempt.consequence + times,
        when,
        attempt.error_type,
        attempt.error[:500],
        attempt.traceback[-MAX_CHARS:],
    )


def _laid_out(text: str) -> SafeString:
    if len(text) <= MAX_CHARS and (value := shown(text)) != text:
        text = json.dumps(value, indent=2)
    cut = text[:MAX_CHARS] + (" ..." if len(text) > MAX_CHARS else "")
    return format_html('<pre style="white-space: pre-wrap">{}</pre>', cut)


def _may(request: HttpRequest, codename: str) -> bool:
    return bool(request.user.has_perm(f"signal_tasks.{codename}"))
