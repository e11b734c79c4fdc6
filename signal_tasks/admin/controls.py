"""The admin of pauses and limits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.formats import localize
from django.utils.timezone import is_naive, localtime
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from signal_tasks import operations
from signal_tasks.admin.trace import log
from signal_tasks.admin.window import WindowAdmin, may
from signal_tasks.exceptions import NotInForce
from signal_tasks.models import Control


@admin.register(Control)
class ControlAdmin(WindowAdmin):
    """Pauses and limits that operators have set, and what ends them."""

    list_display = ("target", "shown_control", "reason", "by", "created_at")
    list_filter = ("kind",)
    names = ("target", "by")
    search_help_text = _(
        "The full target, such as queue:email, or the name of a person"
    )
    ordering = ("kind", "target")
    actions = ("resume", "clear")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may pause and resume."""
        return may(request, "pause_target")

    def has_limit_permission(self, request: HttpRequest) -> bool:
        """Return True if this user may set and clear limits."""
        return may(request, "limit_target")

    @admin.display(description=_("control"), ordering="kind")
    def shown_control(self, control: Control) -> str:
        """The pause or the limits, and when they end."""
        parts: list[Any] = [control.get_kind_display()]
        if control.rate:
            parts.append(_("rate %s") % control.rate)
        if control.max_concurrency is not None:
            parts.append(_("%d at a time") % control.max_concurrency)
        if control.until is not None:
            parts.append(_("until %s") % _shown(control.until))
        return ", ".join(map(str, parts))

    @admin.action(description=_("Resume what is paused"), permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Control]) -> None:
        """End the ticked pauses."""
        self._end(request, queryset, Control.Kind.PAUSE, operations.resume)

    @admin.action(description=_("Clear limits"), permissions=["limit"])
    def clear(self, request: HttpRequest, queryset: QuerySet[Control]) -> None:
        """End the ticked limits."""
        self._end(request, queryset, Control.Kind.LIMIT, operations.clear)

    def _end(
        self, request: HttpRequest, queryset: QuerySet[Control], kind: str, end: Any
    ) -> None:
        ended = []
        for control in queryset.filter(kind=kind)[: self.list_per_page]:
            try:
                end(control.target, by=request.user)
            except NotInForce as error:
                self.message_user(request, str(error), messages.WARNING)
            else:
                ended.append(control)
        if not ended:
            self.message_user(request, NOTHING[kind], messages.WARNING)
            return
        log(request, ended, f"{end.__name__} in a list")
        text = ngettext("%d control was ended.", "%d controls were ended.", len(ended))
        self.message_user(request, text % len(ended), messages.SUCCESS)


def _shown(time: datetime) -> str:
    return str(localize(time if is_naive(time) else localtime(time)))


NOTHING: dict[str, Any] = {
    Control.Kind.PAUSE: _("None of these is a pause."),
    Control.Kind.LIMIT: _("None of these is a limit."),
}
