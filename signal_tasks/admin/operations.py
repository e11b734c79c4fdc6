"""The admin of operations on many deliveries, and of the audit trail."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from signal_tasks import models, operations
from signal_tasks.admin.filters import VerbFilter
from signal_tasks.admin.trace import log
from signal_tasks.admin.window import WindowAdmin, may
from signal_tasks.selection import Selection


@admin.register(models.Operation)
class OperationAdmin(WindowAdmin):
    """Operations: their progress, and what ends or resumes one."""

    list_display = (
        "shown_selection",
        "shown_state",
        "shown_progress",
        "by",
        "created_at",
    )
    list_filter = ("state", "kind")
    ids = ("id",)
    names = ("by",)
    search_help_text = _("The full id of an operation, or the name of a person")
    ordering = ("-created_at",)
    fields = (
        "id",
        "kind",
        "shown_selection",
        "state",
        "note",
        "total",
        "done",
        "failed",
        "skipped",
        "canary",
        "rate",
        "reason",
        "by",
        "created_at",
        "cutoff_at",
        "finished_at",
        "shown_trail",
    )
    readonly_fields = ("shown_selection", "shown_trail")
    children = {"shown_trail": "view_auditentry"}
    actions = ("cancel", "resume")

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may cancel and resume operations."""
        return may(request, "cancel_operation")

    @admin.action(description=_("Cancel selected operations"), permissions=["steer"])
    def cancel(
        self, request: HttpRequest, queryset: QuerySet[models.Operation]
    ) -> None:
        """Leave what they have not reached as it is."""
        self._steer(request, queryset, "cancel")

    @admin.action(description=_("Resume selected operations"), permissions=["steer"])
    def resume(
        self, request: HttpRequest, queryset: QuerySet[models.Operation]
    ) -> None:
        """Go on with those that have stopped."""
        self._steer(request, queryset, "resume")

    def _steer(
        self, request: HttpRequest, queryset: QuerySet[models.Operation], verb: str
    ) -> None:
        changed = []
        for row in queryset[: self.list_per_page]:
            error = _steer(row.pk, verb, request)
            if error:
                self.message_user(request, error, messages.WARNING)
            else:
                changed.append(row)
        if changed:
            log(request, changed, f"{verb} in a list")
            text = ngettext(
                "%d operation changed.", "%d operations changed.", len(changed)
            )
            self.message_user(request, text % len(changed), messages.SUCCESS)

    @admin.display(description=_("deliveries"))
    def shown_selection(self, operation: models.Operation) -> str:
        """The selection, in words."""
        try:
            return Selection.from_json(operation.stored_selection).words_for(
                operation.kind
            )
        except (ValueError, TypeError):  # somebody has damaged it
            return operation.stored_selection

    @admin.display(description=_("progress"))
    def shown_progress(self, operation: models.Operation) -> str:
        """The numbers of deliveries that are done, that there are, and that are not done."""
        total = "?" if operation.total is None else operation.total
        parts = [_("%(done)s of %(total)s") % {"done": operation.done, "total": total}]
        if operation.failed:
            parts.append(_("%d failed") % operation.failed)
        if operation.skipped:
            parts.append(_("%d skipped") % operation.skipped)
        return ", ".join(map(str, parts))

    @admin.display(description=_("state"), ordering="state")
    def shown_state(self, operation: models.Operation) -> str:
        """The kind and the state."""
        return (
            f"{operation.get_kind_display()}, {operation.get_state_display().lower()}"
        )

    @admin.display(description=_("audit trail"))
    def shown_trail(self, operation: models.Operation) -> SafeString:
        """A link to what was done with it."""
        page = reverse("admin:signal_tasks_auditentry_changelist")
        query = f"?q={operation.pk}"
        return format_html('<a href="{}{}">{}</a>', page, query, _("who did what"))


@admin.register(models.AuditEntry)
class AuditEntryAdmin(WindowAdmin):
    """The audit trail: who did what, when and why."""

    list_display = ("at", "verb", "target", "by", "reason")
    list_filter = (VerbFilter,)
    ids = ("operation_id",)
    names = ("by",)
    search_help_text = _("The name of a person, or the full id of an operation")
    ordering = ("-at", "-pk")
    fields = ("at", "verb", "target", "by", "reason", "operation_id", "command")


def _steer(pk: uuid.UUID, verb: str, request: HttpRequest) -> str:
    """Cancel or resume an operation; return why it could not be, or nothing."""
    operation = operations.find(pk)
    if operation is None:
        return str(_("There is no such operation any more."))
    before = operation.state
    act: Callable[..., Any] = getattr(operation, verb)
    try:
        act(by=request.user)
    except (ValueError, LookupError) as error:
        return str(error)
    return "" if operation.state != before else f"{operation}"
