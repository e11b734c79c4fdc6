"""Links that stay in the outbox of the page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse

register = template.Library()


@register.simple_tag(takes_context=True)
def link(context: template.Context, name: str, *args: Any, **query: Any) -> str:
    """Return the address of a page: ``args`` in its path, ``query`` behind it.

    The outbox of the page goes along, unless it is the one that is shown by default.
    Empty values are left out.
    """
    given = {key: str(value) for key, value in query.items() if value}
    database, known = context.get("database", ""), context.get("databases", ())
    if database and known and database != known[0]:
        given["database"] = database
    path = reverse(f"signal_tasks:{name}", args=args)
    return f"{path}?{urlencode(given)}" if given else path
