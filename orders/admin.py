"""Orders in the admin: to look at. The shop changes them, by its services."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from orders.models import Order, OrderLine


class OrderLineInline(admin.TabularInline):
    """The lines of an order."""

    model = OrderLine
    fields = ("product", "quantity", "unit_price", "back_ordered")


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders, newest first."""

    list_display = ("__str__", "customer_name", "status", "created_at")
    list_filter = ("status",)
    search_fields = ("=reference", "customer_name", "customer_email")
    show_full_result_count = False
    inlines = (OrderLineInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Order | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Order | None = None
    ) -> bool:
        return False
