"""Filters of lists whose choices are known without reading a table."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from signal_tasks.audit import VERBS
from signal_tasks.registry.registry import registry

#: Receivers that a list offers.
MAX_CHOICES = 200


class ReceiverFilter(admin.SimpleListFilter):
    """By the receivers that this process knows, and any that the address names."""

    title = _("receiver")
    parameter_name = "receiver"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the names, without asking the database for them."""
        names = set(sorted(registry.known_names())[:MAX_CHOICES])
        return [
            (name, name) for name in sorted(names | {*filter(None, [self.value()])})
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows of the receiver."""
        name = self.value()
        return queryset if name is None else queryset.filter(receiver=name)


class GroupFilter(admin.SimpleListFilter):
    """By the failure group that the address names; the page of a group links here."""

    title = _("failure group")
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the group that is chosen."""
        return [(value, value) for value in [self.value()] if value]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the dead letters of the group."""
        group = self.value()
        return queryset if group is None else queryset.of_group(group)


class VerbFilter(admin.SimpleListFilter):
    """By the verbs that operators have."""

    title = _("verb")
    parameter_name = "verb"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the verbs."""
        return [(verb, verb) for verb in VERBS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the entries of the verb."""
        verb = self.value()
        return queryset if verb is None else queryset.filter(verb__in={verb} & {*VERBS})
