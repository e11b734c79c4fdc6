"""The admin of events."""

from __future__ import annotations

from types import MappingProxyType

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from signal_tasks.admin.window import MAX_CHILDREN, LargeWindowAdmin, laid_out
from signal_tasks.models import Delivery, Event
from signal_tasks.redaction import redacted

DELIVERY = '<div><a href="{}">{}</a>: {}</div>'


@admin.register(Event)
class EventAdmin(LargeWindowAdmin):
    """Events."""

    list_display = ("signal", "subject", "sent_at", "id")
    list_display_links = ("signal", "id")
    ids = ("id",)
    names = ("signal",)
    subjects = ("subject",)
    search_help_text = _(
        "The full id of an event, the full name of a signal, or app.model:pk"
    )
    ordering = ("-id",)
    fields = (
        "id",
        "signal",
        "subject",
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
        return laid_out(event.headers)

    @admin.display(description=_("payload"))
    def shown_payload(self, event: Event) -> SafeString:
        """The stored payload without what is sensitive, laid out and cut."""
        return laid_out(redacted(event.signal, event.payload))


def _linked(delivery: Delivery) -> tuple[str, str, str]:
    page = reverse("admin:signal_tasks_delivery_change", args=[delivery.pk])
    return page, delivery.receiver, delivery.get_state_display()
