"""The admin of failure groups: what fails, notes on it, and what ends it."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from signal_tasks import operations
from signal_tasks.admin.confirmation import ConfirmedActions
from signal_tasks.admin.filters import ReceiverFilter
from signal_tasks.admin.window import MAX_COUNTED, WindowAdmin, counted, may
from signal_tasks.error_text import one_line
from signal_tasks.models import FailureGroup
from signal_tasks.operations import Selection

#: Characters of an error that the list shows.
MAX_SAMPLE = 100


@admin.register(FailureGroup)
class FailureGroupAdmin(ConfirmedActions, WindowAdmin):
    """Failure groups; only the note may be edited, by those who may annotate."""

    list_display = (
        "error_type",
        "shown_sample",
        "receiver",
        "failures",
        "last_seen_at",
        "note",
    )
    list_filter = (ReceiverFilter,)
    names = ("fingerprint", "error_type", "receiver", "location")
    search_help_text = _(
        "A fingerprint, or the full name of an error, a receiver or a function"
    )
    ordering = ("-last_seen_at",)
    fields = (
        "fingerprint",
        "receiver",
        "error_type",
        "location",
        "sample",
        "failures",
        "shown_dead",
        "first_seen_at",
        "last_seen_at",
        "note",
    )
    readonly_fields = tuple(name for name in fields if name != "note")
    children = {"shown_dead": "view_delivery", "sample": "view_attempt"}
    actions = ("replay", "discard")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may replay dead letters."""
        return may(request, "replay_delivery")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may discard deliveries."""
        return may(request, "discard_delivery")

    def has_change_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        """Return True for those who may see groups and write notes on them."""
        sees = may(request, "view_failuregroup")
        return sees and may(request, "annotate_failuregroup")

    def save_model(
        self, request: HttpRequest, obj: FailureGroup, form: Any, change: bool
    ) -> None:
        """Write the note, and nothing else, with an entry in the audit trail."""
        operations.annotate(obj.fingerprint, obj.note, by=request.user)

    @admin.action(
        description=_("Replay dead letters of selected groups"), permissions=["replay"]
    )
    def replay(
        self, request: HttpRequest, queryset: QuerySet[FailureGroup]
    ) -> HttpResponse | None:
        """Ask, then have the dead letters run again."""
        return self.confirm(request, "replay", partial(_selections, queryset))

    @admin.action(
        description=_("Discard dead letters of selected groups"),
        permissions=["discard"],
    )
    def discard(
        self, request: HttpRequest, queryset: QuerySet[FailureGroup]
    ) -> HttpResponse | None:
        """Ask, then discard the dead letters."""
        return self.confirm(request, "discard", partial(_selections, queryset))

    def get_list_display(self, request: HttpRequest) -> Any:
        """Leave out what errors say for those who may not view attempts."""
        names = super().get_list_display(request)
        if may(request, "view_attempt"):
            return names
        return [name for name in names if name != "shown_sample"]

    @admin.display(description=_("first error"))
    def shown_sample(self, group: FailureGroup) -> str:
        """The beginning of the first error's text."""
        text = one_line(group.sample)
        return text if len(text) <= MAX_SAMPLE else f"{text[:MAX_SAMPLE]} ..."

    @admin.display(description=_("dead letters"))
    def shown_dead(self, group: FailureGroup) -> SafeString:
        """The number of dead letters, with a link to them."""
        selection = Selection(fingerprint=group.fingerprint)
        page = reverse("admin:signal_tasks_delivery_changelist")
        number = counted(selection.count(MAX_COUNTED))
        query = f"?group={group.fingerprint}"
        return format_html('<a href="{}{}">{}</a>', page, query, number)


def _selections(queryset: QuerySet[FailureGroup]) -> list[Selection]:
    fingerprints = queryset.order_by("pk").values_list("pk", flat=True)
    return [Selection(fingerprint=each) for each in fingerprints]
