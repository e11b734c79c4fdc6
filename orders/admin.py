"""Orders in the admin, read-only: only the services change orders."""

from __future__ import annotations

from django.contrib import admin

from orders.models import Order, OrderLine
from products.admin import RecordAdmin


class OrderLineInline(admin.TabularInline):  # type: ignore[type-arg]
    """The lines of an order."""

    model = OrderLine
    fields = ("product", "quantity", "unit_price", "back_ordered")


@admin.register(Order)
class OrderAdmin(RecordAdmin):
    """Orders, newest first."""

    list_display = ("__str__", "customer_name", "status", "created_at")
    list_filter = ("status",)
    search_fields = ("=reference", "customer_name", "customer_email")
    inlines = (OrderLineInline,)
