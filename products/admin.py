"""Products, the movements of their stock, and reviews in the admin."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from products.models import Product, Review, StockMovement
from products.services import receive_stock


class RecordAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A read-only admin for records that nobody may edit."""

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
    """A product, and the quantity that has arrived.

    The stock is not a field: a form that was open for a while would overwrite the
    orders of that time.
    """

    arrived = forms.IntegerField(
        min_value=0, initial=0, required=False, help_text="Added to the stock."
    )

    class Meta:
        model = Product
        fields = ("name", "slug", "description", "price", "vendor")


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Products: edit texts and prices, and add stock."""

    form = ProductForm
    list_display = ("name", "price", "stock", "owed")
    search_fields = ("name", "slug")
    readonly_fields = ("stock", "owed")
    prepopulated_fields = {"slug": ("name",)}
    autocomplete_fields = ("vendor",)

    def save_model(
        self, request: HttpRequest, obj: Product, form: ProductForm, change: bool
    ) -> None:
        changed = [name for name in form.changed_data if name != "arrived"]
        obj.save(update_fields=changed if change else None)
        if arrived := form.cleaned_data["arrived"]:
            receive_stock(product=obj, quantity=arrived)


@admin.register(StockMovement)
class StockMovementAdmin(RecordAdmin):
    """Stock movements: quantities are negative where stock came in."""

    list_display = (
        "created_at",
        "kind",
        "product",
        "quantity",
        "missing",
        "order_reference",
    )
    list_filter = ("kind",)
    list_select_related = ("product",)
    search_fields = ("=order_reference", "=key")


@admin.register(Review)
class ReviewAdmin(RecordAdmin):
    """Reviews: read-only, but they may be deleted."""

    list_display = ("created_at", "product", "author", "rating")
    list_filter = ("rating",)
    list_select_related = ("product", "author")
    search_fields = ("product__name", "author__username")

    def has_delete_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)
