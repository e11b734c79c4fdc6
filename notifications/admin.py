"""The record of messages in the admin."""

from __future__ import annotations

from django.contrib import admin

from notifications.models import Notification
from products.admin import RecordAdmin


@admin.register(Notification)
class NotificationAdmin(RecordAdmin):
    """What was written to whom."""

    list_display = ("created_at", "kind", "recipient", "order")
    list_filter = ("kind",)
    list_select_related = ("order",)
    search_fields = ("recipient", "=message_id", "=key")
