"""A read-only window on a model: bounded lists, whole ids, one permission to view it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from signal_tasks.reports import bounds
from signal_tasks.stored_json import shown

#: Rows beyond which the admin says "many" instead of counting on.
MAX_COUNTED = 10_000
#: Characters of a payload, and children of a row, that a page shows.
MAX_CHARS = 20_000
MAX_CHILDREN = 50
#: The subject of an event.
SUBJECT = re.compile(r"\w+\.\w+:.+")


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ``MAX_COUNTED`` rows."""

    @cached_property
    def count(self) -> int:
        """The number of rows, or ``MAX_COUNTED`` if there are more."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MAX_COUNTED].count())


class BoundedList(ChangeList):
    """A list of a large table: what no index finds is looked for among the latest rows."""

    #: The first value of the column that was not looked at; None if all were.
    edge: object = None

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows that match, bounded by the admin of the model."""
        rows = super().get_queryset(request, *args, **kwargs)
        admin: Any = self.model_admin
        given = self.get_filters_params()
        asked = {name: str(values[-1]) for name, values in given.items()}
        bounded, self.edge = admin.bounded(rows, asked, self.query.strip())
        return bounded

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        """Return the order that has an index, whatever the address asks for."""
        return [*self.model_admin.get_ordering(request)]


class WindowAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A read-only model."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 50
    actions_on_bottom = False
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    #: Fields with rows of another model, and the permission to view those.
    children: Mapping[str, str] = MappingProxyType({})

    class Media:
        """The style of the lists."""

        css = {"all": ("signal_tasks/admin.css",)}

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Leave out the rows of models that this user may not view."""
        hidden = {n for n, code in self.children.items() if not may(request, code)}
        return [
            (title, {**rest, "fields": [n for n in rest["fields"] if n not in hidden]})
            for title, rest in super().get_fieldsets(request, obj)
        ]

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """Allow what the lists offer: anything else would read a whole table."""
        field, __, kind = lookup.partition("__")
        columns = [each for each in self.list_filter if isinstance(each, str)]
        offered = field in columns and kind in ("exact", "isnull")
        ours = [getattr(each, "parameter_name", None) for each in self.list_filter]
        return (offered or lookup in ours) and value.isprintable()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Refuse ticked rows that are no ids, which a page of ours never sends."""
        for ticked in request.POST.getlist(ACTION_CHECKBOX_NAME):
            self._check_id(ticked)
        return super().changelist_view(request, extra_context)

    def _check_id(self, ticked: str) -> None:
        pk: Any = self.model._meta.pk
        try:
            pk.clean(ticked, None)
        except ValidationError as error:
            raise SuspiciousOperation("This is not the id of a row.") from error
        if not ticked.isprintable():
            raise SuspiciousOperation("This is not the id of a row.")

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the searched fields: whole ids, whole names, whole subjects."""
        return (*self.ids, *self.names, *self.subjects)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Look a term up in the fields that can hold it, each of which has an index.

        An id is compared as an id: Django would turn that of every row into text.
        """
        term = search_term.strip()
        if not term:
            return queryset, False
        if not term.isprintable():
            return queryset.none(), False
        found = Q.create(list(self._wanted(term).items()), connector=Q.OR)
        return queryset.filter(found), False

    def _wanted(self, term: str) -> dict[str, object]:
        with suppress(ValueError):
            return dict.fromkeys(self.ids, uuid.UUID(term)) or {"pk__in": []}
        is_subject = self.subjects and SUBJECT.fullmatch(term)
        return dict.fromkeys(self.subjects if is_subject else self.names, term)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows come from sends only."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        """State is changed by verbs, not by editing."""
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Model | None = None
    ) -> bool:
        """Rows go by ``prune`` only."""
        return False


class LargeWindowAdmin(WindowAdmin):
    """A read-only model whose table is too large to look at every row, or to sort."""

    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that is bounded."""
        return BoundedList

    def bounded(
        self, rows: QuerySet[Any], asked: Mapping[str, str], term: str
    ) -> tuple[QuerySet[Any], object]:
        """Keep the rows that may be looked at, and return the edge of them.

        Args:
            rows: those that match.
            asked: parameters of the address that filter, with their values.
            term: what is searched for.
        """
        has_index = term and not self._is_name(term)  # an id, or a subject
        if has_index or not (asked or term):
            return rows, None
        every: QuerySet[Any] = self.model._base_manager.using(rows.db)
        return latest(rows, every, "pk")

    def _is_name(self, term: str) -> bool:
        return set(self._wanted(term)) == set(self.names)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Say below the title that not all rows were looked at, if so."""
        answer = super().changelist_view(request, extra_context)
        context: Any = getattr(answer, "context_data", None) or {}
        if getattr(context.get("cl"), "edge", None) is not None:
            most = f"{bounds.MAX_SEARCHED:,}"
            context["subtitle"] = _("Only the latest %s rows were looked at.") % most
        return answer


def latest(
    rows: QuerySet[Any], of: QuerySet[Any], column: str
) -> tuple[QuerySet[Any], object]:
    """Keep rows that are among the latest of others, by a column with an index."""
    edge = bounds.edge(of, column)
    if edge is None:
        return rows, None
    return rows.filter(**{f"{column}__gt": edge}), edge


def laid_out(text: str) -> SafeString:
    """Return stored JSON with indents, or the text as it is, cut."""
    if len(text) <= MAX_CHARS and (value := shown(text)) != text:
        text = json.dumps(value, indent=2)
    cut = text[:MAX_CHARS] + (" ..." if len(text) > MAX_CHARS else "")
    return format_html('<pre style="white-space: pre-wrap">{}</pre>', cut)


def may(request: HttpRequest, codename: str) -> bool:
    """Return True if the user has this permission of ours."""
    return bool(request.user.has_perm(f"signal_tasks.{codename}"))


def counted(number: int) -> str:
    """Return a number of deliveries: exactly, or that it is more than can be counted."""
    if number > MAX_COUNTED:
        more = _("more than %s deliveries")
        return str(more % f"{MAX_COUNTED:,}")
    return ngettext("%d delivery", "%d deliveries", number) % number
