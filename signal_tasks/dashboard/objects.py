"""Pages of the admin for the objects that events are about."""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import apps
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from signal_tasks.reports.payloads import Reference


def with_pages(
    request: HttpRequest, references: Iterable[Reference]
) -> list[tuple[Reference, str]]:
    """Return the references, each with its page in the admin, or an empty text.

    Without the database: the object of a page may be gone.
    """
    return [(each, page_of(request, each.model, each.pk)) for each in references]


def page_of(request: HttpRequest, model: str, pk: object) -> str:
    """Return the page of a row in the admin; empty if this user does not see it."""
    try:
        meta = apps.get_model(model)._meta
        path = f"admin:{meta.app_label}_{meta.model_name}_change"
        address = reverse(path, args=[quote(str(pk))])
    except (LookupError, ValueError, NoReverseMatch):
        return ""
    sees = request.user.has_perm(f"{meta.app_label}.view_{meta.model_name}")
    return address if sees and getattr(request.user, "is_staff", False) else ""
