"""The admin of deliveries, and the actions on them."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from signal_tasks import operations
from signal_tasks.admin.window import MAX_CHARS, MAX_CHILDREN, WindowAdmin, may
from signal_tasks.models import Attempt, Delivery
from signal_tasks.operations import Selection
from signal_tasks.querysets import DeliveryQuerySet

#: Most deliveries that one action changes.
MAX_CHANGED = 10_000


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
        return may(request, "replay_delivery")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may discard pending and dead deliveries."""
        return may(request, "discard_delivery")

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
        operation: Callable[[Selection], int],
    ) -> None:
        ticked = possible.order_by()[:MAX_CHANGED]
        chosen = list(ticked.only("pk", "receiver"))
        verb = operation.__name__
        changed = 0
        if chosen:
            changed = operation(Selection(ids=[row.pk for row in chosen]))
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


NOTHING_TO = {
    "replay": _("Nothing to replay: only dead and discarded deliveries can be."),
    "discard": _("Nothing to discard: only pending and dead deliveries can be."),
}
FAILURE = (
    "<details><summary>Attempt {}, {}, {}: {}: {}</summary>"
    '<pre style="white-space: pre-wrap">{}</pre></details>'
)


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
