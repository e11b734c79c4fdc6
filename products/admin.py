"""Products and the movements of their stock in the admin."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from products.models import Product, StockMovement


class RecordAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What has happened: to be looked at, and edited by nobody."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return False


class ProductForm(forms.ModelForm):  # type: ignore[type-arg]
    """A product, and how many of it have arrived.

    The stock itself is no field: a form filled in slowly would write back a number
    from before the orders that came in meanwhile.
    """

    arrived = forms.IntegerField(
        min_value=0, initial=0, required=False, help_text="Added to the stock."
    )

    class Meta:
        model = Product
        fields = ("name", "slug", "description", "price")


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Products: texts, prices, and what arrives."""

    form = ProductForm
    list_display = ("name", "price", "stock")
    search_fields = ("name", "slug")
    readonly_fields = ("stock",)
    prepopulated_fields = {"slug": ("name",)}

    def save_model(
        self, request: HttpRequest, obj: Product, form: ProductForm, change: bool
    ) -> None:
        changed = [name for name in form.changed_data if name != "arrived"]
        obj.save(update_fields=changed if change else None)
        if arrived := form.cleaned_data["arrived"]:
            obj.restock(arrived)


@admin.register(StockMovement)
class StockMovementAdmin(RecordAdmin):
    """What was taken from stock, by which order."""

    list_display = ("created_at", "product", "quantity", "missing", "order_reference")
    list_select_related = ("product",)
    search_fields = ("=order_reference", "=key")
