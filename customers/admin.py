"""Customers, profiles and subscribers in the admin."""

from __future__ import annotations

from django.contrib import admin

from customers.models import Customer, CustomerProfile, Subscriber


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Customers, by name or address."""

    list_display = ("name", "email", "created_at")
    search_fields = ("name", "email")
    readonly_fields = ("created_at",)


@admin.register(CustomerProfile)
class CustomerProfileAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Profiles. Change the names at the user: the profile follows."""

    list_display = ("__str__", "user", "created_at")
    list_select_related = ("user",)
    search_fields = ("first_name", "last_name", "user__username")
    readonly_fields = ("user", "first_name", "last_name", "created_at")


@admin.register(Subscriber)
class SubscriberAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Subscribers of the newsletter."""

    list_display = ("email", "active", "created_at")
    list_filter = ("active",)
    search_fields = ("email",)
    # Read-only here: only the services send the signals of a subscription.
    readonly_fields = ("active", "created_at")
