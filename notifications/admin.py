"""The record of emails in the admin."""

from __future__ import annotations

from django.contrib import admin

from notifications.models import Notification
from products.admin import RecordAdmin


@admin.register(Notification)
class NotificationAdmin(RecordAdmin):
    """Sent emails, read-only."""

    list_display = ("created_at", "kind", "recipient", "order")
    list_filter = ("kind",)
    list_select_related = ("order",)
    search_fields = ("recipient", "=message_id", "=key")
