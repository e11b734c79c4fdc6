"""The record of messages in the admin."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from notifications.models import Notification


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):
    """What was written to whom: a record, so nobody edits it."""

    list_display = ("created_at", "kind", "recipient", "order")
    list_filter = ("kind",)
    list_select_related = ("order",)
    search_fields = ("recipient", "=message_id", "=key")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Notification | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Notification | None = None
    ) -> bool:
        return False
